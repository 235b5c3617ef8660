"""A model against the best text-only baseline of the audit."""

from collections.abc import Mapping
from typing import Any

from abo_vqa.common.schema import TEST, best_baseline


def against_blind(
    total: Mapping[str, float], report: Mapping[str, Any], condition: str, limit: float | None
) -> dict[str, Any]:
    """Return whether a model's total (accuracy, low, high) is above the best blind predictor's on the test split.

    limit: the blind score above which nothing is called a gain (compare.max_blind); None for no limit.
    """
    name = best_baseline(report, condition)
    blind = report[TEST][condition][name]["total"]
    # Intervals that do not overlap: valid whatever the correlation of the two, which is not known here.
    if total["low"] > blind["high"]:
        verdict = "above"
    elif total["high"] < blind["low"]:
        verdict = "below"
    else:
        verdict = "not shown to be above"
    found = f"{name}, {100 * blind['accuracy']:.1f} %"
    refused = ""
    if limit is not None and blind["accuracy"] > limit:
        refused = f"no gain, for the best blind predictor ({found}) exceeds compare.max_blind ({100 * limit:.1f} %)"
    return {
        "predictor": name,
        "accuracy": blind["accuracy"],
        "low": blind["low"],
        "high": blind["high"],
        "above": verdict == "above",
        "refused": refused,
        "statement": f"{verdict} the best blind predictor ({found})",
    }
