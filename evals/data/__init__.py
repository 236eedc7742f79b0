"""Files of grounding items and of questions: read, checked, split, written."""

from arriero.evals.data.grounding import read_items, write_items

__all__ = ["read_items", "write_items"]
