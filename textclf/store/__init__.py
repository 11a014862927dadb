"""The BentoML model store: where a served model is found, and how one gets in."""

from textclf.store.committing import Committed, commit
from textclf.store.reading import LATEST, find, is_folder, locate, resolve

__all__ = ["LATEST", "Committed", "commit", "find", "is_folder", "locate", "resolve"]
