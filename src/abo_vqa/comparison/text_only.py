"""Compare a model with the audit's best text-only baseline."""

from collections.abc import Mapping
from typing import Any

from abo_vqa.common.schema import TEST, best_baseline


def against_text_only(
    total: Mapping[str, float], report: Mapping[str, Any], condition: str, limit: float | None
) -> dict[str, Any]:
    """Return whether a model's total (accuracy, low, high) is above the best text-only baseline's on the test split.

    limit: the baseline's accuracy above which no difference is a gain (compare.max_blind); None for no limit.
    """
    name = best_baseline(report, condition)
    baseline = report[TEST][condition][name]["total"]
    # Non-overlapping intervals are valid for any correlation of the two, which is unknown here.
    if total["low"] > baseline["high"]:
        verdict = "above"
    elif total["high"] < baseline["low"]:
        verdict = "below"
    else:
        verdict = "not shown to be above"
    found = f"{name}, {100 * baseline['accuracy']:.1f} %"
    refused = ""
    if limit is not None and baseline["accuracy"] > limit:
        refused = f"no gain, for the best text-only baseline ({found}) exceeds compare.max_blind ({100 * limit:.1f} %)"
    return {
        "predictor": name,
        "accuracy": baseline["accuracy"],
        "low": baseline["low"],
        "high": baseline["high"],
        "above": verdict == "above",
        "refused": refused,
        "statement": f"{verdict} the best text-only baseline ({found})",
    }
