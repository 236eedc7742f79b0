"""Files of grounding items and of questions: read, checked, split, written."""

from arriero.evals.data.folder import left_out, read_documents
from arriero.evals.data.grounding import read_items, write_items
from arriero.evals.data.questions import read_corpus, read_folder, read_questions, write_questions
from arriero.evals.data.samples import SAMPLES, Sample, sample
from arriero.evals.data.splits import split

__all__ = [
    "SAMPLES",
    "Sample",
    "left_out",
    "read_corpus",
    "read_documents",
    "read_folder",
    "read_items",
    "read_questions",
    "sample",
    "split",
    "write_items",
    "write_questions",
]
