"""Choose the champion: an arm whose gain over base the verdict confirms, better than the present one in a paired test.

Candidates are chosen by validation accuracy; the test set only confirms or refuses the one that was chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import BASE
from abo_vqa.comparison.words import answers_about

if TYPE_CHECKING:
    import pandas as pd

    from abo_vqa.statistics.intervals import Difference

Comparison = Mapping[str, Any]
Part = Mapping[str, Any]  # of the verdict
YES = "yes"  # the verdict's answer for a gain
_BY_HAND = "to replace it without a test, delete the alias `champion` in MLflow and promote again"


@dataclass(frozen=True)
class Entry:
    """A registered version: one training run of an arm.

    tested_on: identifies the test questions and how they are shown, empty if unknown. predictions: columns qa_id,
    image_group, condition, correct; None if they cannot be read. validation: accuracy, None without validation. parts:
    of the verdict on arm minus base; lead: the lower limit of this run's own difference from base; both by condition,
    not needed of the present champion.
    """

    arm: str
    replicate: str
    version: str
    tested_on: str
    predictions: "pd.DataFrame | None"
    validation: float | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    lead: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"version {self.version} ({self.replicate})"


def parts_on(arm: str, comparison: Comparison) -> Mapping[str, Part]:
    """Return the verdict's parts on arm minus base by condition."""
    return answers_about(comparison, arm, BASE)


def best_of(names: Sequence[str], validation: Mapping[str, float | None]) -> str:
    """Return the name with the highest validation accuracy, the first of equal ones and of names without any."""
    known = [name for name in names if validation[name] is not None]
    return max(known or names, key=lambda name: validation[name] or 0.0)


def choose_champion(
    entries: Sequence[Entry],
    present: Entry | None,
    under: Sequence[str],
    confidence: float,
    reason: Callable[[Part], str],
) -> tuple[Entry | None, str]:
    """Return the new champion, None if it does not change, and why, as one line.

    An entry qualifies if the verdict says yes under every condition of `under`. The qualified one with the best
    validation accuracy is the only candidate. It replaces a present champion if it is significantly better, at
    `confidence`, on the same questions under the first condition. reason: words for a part's reasons.
    """
    stays = f"champion stays {present}" if present else "no champion"
    lacking = {entry.replicate: _lacking(entry, under, reason) for entry in entries}
    qualified = {entry.replicate: entry for entry in entries if not lacking[entry.replicate]}
    if not qualified:
        return None, f"{stays}: {'; '.join(lacking.values()) or 'no arm was compared'}"
    validation = {name: entry.validation for name, entry in qualified.items()}
    best = qualified[best_of(list(qualified), validation)]
    if present is None:
        named = " and ".join(f"`{name}`" for name in under)
        return best, f"champion is now {best}{_among(validation)}: the verdict says yes under {named}"
    if present.version == best.version:
        return None, f"{stays}: it is the candidate{_among(validation)}"
    try:
        difference = _tested(best, present, under[0], confidence)
    except InputError as error:
        return None, f"{stays}: {best} cannot be tested against it, because {error}; {_BY_HAND}"
    figures = f"{_figures(difference)} under `{under[0]}`"
    if difference.estimate > 0 and difference.p < 1 - confidence:
        return best, f"champion is now {best}{_among(validation)}: better than {present}, {figures}"
    if difference.estimate == 0:
        return None, f"{stays}: {best} ties with it, {figures}"
    worse = difference.p < 1 - confidence
    return None, f"{stays}: {best} is {'worse' if worse else 'not shown to be better'}, {figures}"


def _lacking(entry: Entry, under: Sequence[str], reason: Callable[[Part], str]) -> str:
    """Return the first condition whose verdict is not yes, with its verdict; empty if all are yes."""
    for condition in under:
        part = entry.parts.get(condition)
        if part is None:
            return f"{entry.arm} arm under `{condition}`: its difference from {BASE} is not planned (compare.planned)"
        if part["answer"] != YES:
            why = f" ({reason(part)})" if part["reasons"] else ""
            return f"{entry.arm} arm under `{condition}`: {part['answer']}{why}"
        # The verdict is on the mean of all runs, which can hide one that failed.
        if not entry.lead.get(condition, 0.0) > 0:
            return f"{entry} itself is not shown to be better than {BASE} under `{condition}`"
    return ""


def _among(validation: Mapping[str, float | None]) -> str:
    if len(validation) == 1:
        return ""
    if all(value is None for value in validation.values()):
        return f", the first of {len(validation)} qualified arms, which were not validated"
    return f", the best of {len(validation)} qualified arms by validation accuracy"


def _tested(candidate: Entry, present: Entry, condition: str, confidence: float) -> "Difference":
    """Return the candidate's accuracy minus the present champion's; InputError if no paired test is possible."""
    from abo_vqa.statistics.intervals import paired_difference

    if not present.tested_on:
        raise InputError("its test data are unknown")
    if present.tested_on != candidate.tested_on:
        raise InputError("it was tested on other test data")
    if candidate.predictions is None or present.predictions is None:
        raise InputError("its predictions cannot be read from the store")
    first, second = (table[table["condition"] == condition] for table in (candidate.predictions, present.predictions))
    if set(first["qa_id"]) != set(second["qa_id"]):
        raise InputError("its predictions are of other questions")
    return paired_difference(first, second, confidence)


def _figures(difference: "Difference") -> str:
    from abo_vqa.statistics.display import span

    return (
        f"{100 * difference.estimate:+.1f} points ({span(vars(difference), '+')}; p {difference.p:.2g}) on the same "
        f"{difference.n} questions"
    )
