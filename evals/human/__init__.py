"""What people say: pages to label items on, labels made elsewhere, and how far people agree."""

from arriero.evals.human.agreement import Agreement, Coefficients, agreement, coefficients
from arriero.evals.human.importing import labels_from
from arriero.evals.human.judging import HumanJudge, judged_by_people
from arriero.evals.human.labelling import Labelling, in_random_order
from arriero.evals.human.server import CannotLabel, serve_labelling

__all__ = [
    "Agreement",
    "CannotLabel",
    "Coefficients",
    "HumanJudge",
    "Labelling",
    "agreement",
    "coefficients",
    "in_random_order",
    "judged_by_people",
    "labels_from",
    "serve_labelling",
]
