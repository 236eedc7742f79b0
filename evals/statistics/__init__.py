"""Rates with intervals, corrected for the judge, and differences between systems."""

from arriero.evals.statistics.correction import Quality, judge_quality, prediction_powered, rogan_gladen
from arriero.evals.statistics.difference import prediction_powered_difference
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.statistics.intervals import cluster_bootstrap, cluster_wilson, wilson
from arriero.evals.statistics.paired import Comparison, cluster_tango, compare, holm, mcnemar, sign_flip, tango
from arriero.evals.statistics.power import (
    difference_for_items,
    items_for_difference,
    items_for_non_inferiority,
    labels_for_width,
    margin_for_items,
    width_of_labels,
)

__all__ = [
    "Comparison",
    "Estimate",
    "Quality",
    "cluster_bootstrap",
    "cluster_tango",
    "cluster_wilson",
    "compare",
    "difference_for_items",
    "holm",
    "items_for_difference",
    "items_for_non_inferiority",
    "judge_quality",
    "labels_for_width",
    "margin_for_items",
    "mcnemar",
    "prediction_powered",
    "prediction_powered_difference",
    "rogan_gladen",
    "sign_flip",
    "tango",
    "width_of_labels",
    "wilson",
]
