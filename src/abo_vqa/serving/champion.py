"""Choose the champion among the arms from the verdict alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abo_vqa.common.params.model import BASE

Comparison = Mapping[str, Any]
YES = "yes"  # the verdict's word for a gain


@dataclass(frozen=True)
class Entry:
    """A registered arm. answers: verdicts on arm minus base by condition; accuracy: under the first required one."""

    arm: str
    version: str
    answers: Mapping[str, str]
    accuracy: float
    test_data: str

    def __str__(self) -> str:
        return f"version {self.version} ({self.arm} arm, {100 * self.accuracy:.1f} %)"


def answers_on(arm: str, comparison: Comparison) -> dict[str, str]:
    """Return the verdict on arm minus base by condition: yes, no, not shown, or why it cannot be said."""
    parts = [part for question in comparison["verdict"]["questions"] for part in question["parts"]]
    planned = [part for part in parts if part.get("planned") and (part["first"], part["second"]) == (arm, BASE)]
    return {part["condition"]: part["answer"] for part in planned}


def accuracies_of(model: str, comparison: Comparison) -> dict[str, float]:
    """Return a model's accuracy by condition."""
    return {name: float(groups["total"]["accuracy"]) for name, groups in comparison["results"][model].items()}


def choose_champion(entries: Sequence[Entry], present: Entry | None, under: Sequence[str]) -> tuple[Entry | None, str]:
    """Return the new champion, None if it does not change, and the reason as one line.

    An entry qualifies if the verdict says yes under every condition of `under`; the most accurate one is chosen. The
    present champion stays if it was tested on the same data and is more accurate.
    """
    stays = f"champion stays {present}" if present else "no champion"
    lacking = {entry.arm: _lacking(entry, under) for entry in entries}
    qualified = [entry for entry in entries if not lacking[entry.arm]]
    if not qualified:
        return None, f"{stays}: {'; '.join(lacking.values()) or 'no arm was compared'}"
    best = max(qualified, key=lambda entry: entry.accuracy)
    if present and present.version == best.version:
        return None, f"{stays}: the verdict says yes under {_named(under)}"
    if present and present.test_data == best.test_data and present.accuracy > best.accuracy:
        return None, f"{stays}: {best} is less accurate on the same test data under {_named(under[:1])}"
    before = f"; before: {present}" if present else ""
    return best, f"champion is now {best}: the verdict says yes under {_named(under)}{before}"


def _lacking(entry: Entry, under: Sequence[str]) -> str:
    """Return the first condition whose verdict is not yes, with its verdict; empty if all are yes."""
    for condition in under:
        answer = entry.answers.get(condition, f"its difference from {BASE} is not planned (compare.planned)")
        if answer != YES:
            return f"{entry.arm} arm under `{condition}`: {answer}"
    return ""


def _named(conditions: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in conditions)
