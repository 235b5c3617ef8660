"""Image, wording, options and option orders of each question under a condition."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import InputError, choose
from abo_vqa.common.layout import with_options
from abo_vqa.common.params import Params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.inference.conditions.other_images import other_images

Row = Mapping[str, Any]


BLANK = "blank"  # id of the blank image


@dataclass(frozen=True)
class Asked:
    """One question under one condition.

    shown_image: the id of the image shown with it. question: its wording, "" if it is left out. options: the answer
    and its distractors, empty if the question has none; rotations: the orders in which they are shown, empty if they
    are not shown.
    """

    qa_id: str
    image_id: str
    shown_image: str
    question: str
    options: tuple[str, ...]
    rotations: tuple[tuple[str, ...], ...]


class Distractors:
    """Answers to draw distractors from: near ones, to questions of the same type, and far ones, to other types only."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Collect the distinct answers to these questions, which should not be the evaluated ones."""
        self._by_type: dict[str, set[str]] = {}
        for row in rows:
            self._by_type.setdefault(row["question_type"], set()).add(row["answer"])

    def near(self, question_type: str) -> set[str]:
        """Return the answers to questions of that type."""
        return self._by_type.get(question_type, set())

    def far(self, question_type: str) -> set[str]:
        """Return the answers to questions of other types, without those to questions of that type."""
        return set().union(*self._by_type.values()) - self.near(question_type)


# Kinds of conditions, by the values of a condition's keys in params.yaml. To add a kind, add an entry to one of these.
# image: of all questions and the seed, the image to show by qa_id; a question without one is not asked. To all but
# `shown`, an image is a counterpart (evaluate.counterparts).
IMAGES: dict[str, Callable[[Sequence[Row], int], Mapping[str, str]]] = {
    "shown": lambda rows, seed: {row["qa_id"]: row["image_id"] for row in rows},
    "blank": lambda rows, seed: {row["qa_id"]: BLANK for row in rows},
    "other": other_images,
}
# question: its wording. Those of WORDINGS fit any question.
WORDINGS = (
    "Look at the image. {question}",
    "{question} Please look closely.",
    "Here is a question about the image. {question}",
    "{question} The image shows it.",
)
QUESTIONS: dict[str, Callable[[str, Random], str]] = {
    "shown": lambda question, rng: question,
    "none": lambda question, rng: "",
    "reworded": lambda question, rng: rng.choice(WORDINGS).replace("{question}", question),
}
# options: answers to draw distractors from; None keeps the question's options.
SOURCES: dict[str, Callable[[Row, Distractors], set[str]] | None] = {
    "none": None,  # ranked, not shown
    "given": None,
    "matched": None,  # the stage `split` drew them
    "near": lambda row, distractors: distractors.near(row["question_type"]),
    "far": lambda row, distractors: distractors.far(row["question_type"]),
}


def _shuffled(options: list[str], rng: Random) -> list[str]:
    shuffled = list(options)
    rng.shuffle(shuffled)
    return shuffled


# order: the orders in which the options are shown; a question is right only if it is right in all of them.
ORDERS: dict[str, Callable[[list[str], Random], list[list[str]]]] = {
    "given": lambda options, rng: [options],
    "shuffled": lambda options, rng: [_shuffled(options, rng)],
    "rotated": lambda options, rng: [options[start:] + options[:start] for start in range(len(options) or 1)],
}


def ask_under(
    rows: Sequence[Row], name: str, condition: ConditionParams, distractors: Distractors, seed: int
) -> list[Asked]:
    """Return the questions as asked under a condition.

    `matched` keeps only those with matched options, the image `other` those for which another one suits: pass all
    questions. A question without options is asked only where none are shown, and has none to rank. Every other draw
    depends only on the seed, the condition's options and the question, so that a condition and its counterparts differ
    in the image alone. Raises InputError for an unknown kind of condition, or if a question has too few distractors.
    """
    parameter = f"evaluate.conditions.{name}"
    images = choose(IMAGES, condition.image, f"{parameter}.image")(rows, seed)
    source = choose(SOURCES, condition.options, f"{parameter}.options")
    order = choose(ORDERS, condition.order, f"{parameter}.order")
    worded = choose(QUESTIONS, condition.question, f"{parameter}.question")
    asked = []
    for row in with_options([dict(row) for row in rows], "matched" if condition.options == "matched" else "given"):
        if row["qa_id"] not in images or not (len(row["options"]) or condition.options == "none"):
            continue
        rng = derive_rng(seed, "condition", condition.options, condition.order, row["qa_id"])
        first = source(row, distractors) if source else None
        options = _options(row, parameter, condition.count, first, distractors, rng) if len(row["options"]) else []
        orders = order(options, rng)
        asked.append(
            Asked(
                qa_id=row["qa_id"],
                image_id=row["image_id"],
                shown_image=images[row["qa_id"]],
                question=worded(row["question"], derive_rng(seed, "wording", row["qa_id"])),
                options=tuple(orders[0]),
                rotations=() if condition.options == "none" else tuple(map(tuple, orders)),
            )
        )
    return asked


def questions_asked(params: Params, rows: Sequence[Row], train: Sequence[Row]) -> dict[str, list[Asked]]:
    """Return the questions as asked under every condition; rows: the test split's, train: the train split's."""
    for image in params.evaluate.counterparts:
        choose(IMAGES, image, "evaluate.counterparts")
    distractors = Distractors(train)
    return {name: ask_under(rows, name, shown, distractors, params.seed) for name, shown in params.conditions().items()}


def identity(row: Row, asked: Asked, condition: str) -> dict[str, Any]:
    """Return the columns of tables/answers that identify a question; row: of the question in its split's table."""
    return {
        "qa_id": asked.qa_id,
        "image_id": asked.image_id,
        "image_group": row.get("image_group", asked.image_id),
        "shown_image": asked.shown_image,
        "question_type": row["question_type"],
        "condition": condition,
        "answer": row["answer"],
        "options": list(asked.options),
        "shown": bool(asked.rotations),
    }


def _options(
    row: Row, parameter: str, wanted: int | None, first: set[str] | None, distractors: Distractors, rng: Random
) -> list[str]:
    """Return the options: in the given order if they all were given, else in random order.

    first: answers to draw distractors from; None for the given ones. If they are too few (yes and no have hardly a
    neighbor), given, near and far ones fill up.
    """
    given, answer, kind = list(row["options"]), row["answer"], row["question_type"]
    count = wanted or len(given)
    fallbacks = [set(given), distractors.near(kind), distractors.far(kind)]
    chosen = [answer]
    for source in ([first] if first is not None else []) + fallbacks:
        left = sorted(source.difference(chosen))
        chosen += rng.sample(left, min(count - len(chosen), len(left)))
    if len(chosen) < count:
        raise InputError(
            f"{parameter}: question {row['qa_id']} needs {count} options, but the train split has too few different "
            "answers; lower the count or raise sample.products"
        )
    if set(chosen) <= set(given):
        return [option for option in given if option in chosen]
    rng.shuffle(chosen)
    return chosen
