"""What a model is shown of each question under a condition of params.yaml: which options, how many, in which orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import with_options
from abo_vqa.common.params.measure import ConditionParams

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """One question under one condition.

    options: among which the answer is; rotations: the orders in which they are shown, none where they are not; blank:
    whether the image is blanked.
    """

    qa_id: str
    image_id: str
    question: str
    options: tuple[str, ...]
    rotations: tuple[tuple[str, ...], ...]
    blank: bool


class Distractors:
    """Answers to draw distractors from: near ones, given to questions of the same type, and far ones."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Collect the distinct answers of these questions, which should not be the ones that are asked."""
        self._by_type: dict[str, set[str]] = {}
        for row in rows:
            self._by_type.setdefault(row["question_type"], set()).add(row["answer"])

    def near(self, question_type: str) -> set[str]:
        """Return the answers to questions of that type."""
        return self._by_type.get(question_type, set())

    def far(self, question_type: str) -> set[str]:
        """Return the answers to questions of other types that are none to questions of that type."""
        return set().union(*self._by_type.values()) - self.near(question_type)


def ask_under(
    rows: Sequence[Row], name: str, condition: ConditionParams, distractors: Distractors, seed: int
) -> list[Asked]:
    """Return the questions as they are asked under a condition; without those that `matched` does not keep.

    Every draw depends on the seed, the condition's options and the question alone. InputError if for a question there
    are not enough distractors.
    """
    matched = condition.options == "matched"
    kept = with_options([dict(row) for row in rows], "matched" if matched else "given")
    return [_asked(row, name, condition, distractors, seed) for row in kept]


def _asked(row: Row, name: str, condition: ConditionParams, distractors: Distractors, seed: int) -> Asked:
    rng = derive_rng(seed, "condition", condition.options, condition.order, row["qa_id"])
    options = _options(row, name, condition, distractors, rng)
    if condition.order == "shuffled":
        rng.shuffle(options)
    if condition.options == "none":
        rotations: tuple[tuple[str, ...], ...] = ()
    elif condition.order == "rotated":
        rotations = tuple(tuple(options[start:] + options[:start]) for start in range(len(options)))
    else:
        rotations = (tuple(options),)
    blank = condition.image == "blank"
    return Asked(row["qa_id"], row["image_id"], row["question"], tuple(options), rotations, blank)


def _options(row: Row, name: str, condition: ConditionParams, distractors: Distractors, rng: Random) -> list[str]:
    """Return the options: as given where they are not replaced and are enough, else in random order."""
    given, answer, kind = list(row["options"]), row["answer"], row["question_type"]
    count = condition.count or len(given)
    sources = {"given": set(given), "near": distractors.near(kind), "far": distractors.far(kind)}
    # Where a source has too few (yes and no have hardly a neighbour), the next one fills up.
    first = condition.options if condition.options in sources else "given"
    chosen = [answer]
    for source in (first, *(other for other in sources if other != first)):
        left = sorted(sources[source].difference(chosen))
        chosen += rng.sample(left, min(count - len(chosen), len(left)))
    if len(chosen) < count:
        raise InputError(
            f"evaluate.conditions.{name}: question {row['qa_id']} needs {count} options, but the train split has too "
            "few different answers; lower the count or raise sample.products"
        )
    if set(chosen) <= set(given):
        return [option for option in given if option in chosen]
    rng.shuffle(chosen)
    return chosen
