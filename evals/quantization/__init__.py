"""Quantizations compared with a baseline: what changes, and whether the difference is real."""

from arriero.evals.quantization.agreement import TokenAgreement, divergences
from arriero.evals.quantization.asking import Plan, VariantFound
from arriero.evals.quantization.comparing import QuantizationReport, compare_quantizations
from arriero.evals.quantization.cost import Speed
from arriero.evals.quantization.variants import BASE, InvalidVariant, ModelVariant

__all__ = [
    "BASE",
    "InvalidVariant",
    "ModelVariant",
    "Plan",
    "QuantizationReport",
    "Speed",
    "TokenAgreement",
    "VariantFound",
    "compare_quantizations",
    "divergences",
]
