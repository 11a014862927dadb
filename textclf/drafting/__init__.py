"""A fetched model to a draft of its classifier folder: taken over as it is, or put together."""

from textclf.drafting.adoption import adopt
from textclf.drafting.assembly import Plan, assemble, plan
from textclf.drafting.options import ImportOptions

__all__ = ["ImportOptions", "Plan", "adopt", "assemble", "plan"]
