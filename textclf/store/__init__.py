"""The BentoML model store: where a served model is found, and how one gets in."""

from textclf.store.committing import Committed, commit
from textclf.store.reading import find, holds, locate

__all__ = ["Committed", "commit", "find", "holds", "locate"]
