"""Draw another product's image for each question, one about which the question's right answer is wrong."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from abo_vqa.common.draws import derive_rng

Row = Mapping[str, Any]
Likeness = Callable[[Row], set[Hashable]]
# By what questions have in common, the images of each answer.
Index = dict[Hashable, dict[str, set[str]]]


def other_images(rows: Sequence[Row], seed: int) -> dict[str, str]:
    """Return another image by qa_id; a question for which no image suits is left out.

    rows: the questions, with qa_id, image_id, image_group (the image where there is none), question_type, question and
    answer. An image of another group suits a question if some question like it about that image has another answer,
    and none has the same answer. Like it: in the same words; if no image suits, in the same words but for the
    product's; if none suits again, of the same type, which makes another answer likely, not certain. An image's
    questions share as few other images as possible. A draw depends on the seed and the questions, not on their order.
    """
    by_image: dict[str, list[Row]] = defaultdict(list)
    in_group: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_image[row["image_id"]].append(row)
        in_group[_group(row)].add(row["image_id"])
    indexes = [(alike, _index(rows, alike)) for alike in (_in_same_words, _but_for_product(rows), _of_same_type)]
    drawn: dict[str, str] = {}
    for image, questions in by_image.items():
        rng = derive_rng(seed, "other image", image)
        suitable = {row["qa_id"]: _suitable(row, in_group[_group(row)], indexes) for row in questions}
        while counts := Counter(other for images in suitable.values() for other in images):
            most = max(counts.values())
            other = rng.choice(sorted(name for name, count in counts.items() if count == most))
            drawn |= {qa_id: other for qa_id, images in suitable.items() if other in images}
            suitable = {qa_id: images for qa_id, images in suitable.items() if other not in images}
    return drawn


def _suitable(row: Row, own: set[str], indexes: Sequence[tuple[Likeness, Index]]) -> set[str]:
    """Return the images that suit a question; own: the images of its group."""
    for alike, index in indexes:
        same: set[str] = set()
        differing: set[str] = set()
        for key in alike(row):
            for answer, images in index[key].items():
                (same if answer == _answer(row) else differing).update(images)
        if found := differing - same - own:
            return found
    return set()


def _index(rows: Sequence[Row], alike: Likeness) -> Index:
    index: Index = defaultdict(lambda: defaultdict(set))
    for row in rows:
        for key in alike(row):
            index[key][_answer(row)].add(row["image_id"])
    return index


def _in_same_words(row: Row) -> set[Hashable]:
    return {_words(row["question"])}


def _but_for_product(rows: Sequence[Row]) -> Likeness:
    """Return the likeness of questions that differ in one word which names the product.

    Such a word is in several questions about the image and in no answer: in "Is the chair red?" it is `chair`, not
    `red`, without which the question would be another.
    """
    answers = {word for row in rows for word in _words(row["answer"])}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row["image_id"]].update(set(_words(row["question"])))

    def alike(row: Row) -> set[Hashable]:
        words, count = _words(row["question"]), counts[row["image_id"]]
        places = [place for place, word in enumerate(words) if count[word] > 1 and word not in answers]
        return {(*words[:place], None, *words[place + 1 :]) for place in places}

    return alike


def _of_same_type(row: Row) -> set[Hashable]:
    return {row["question_type"]}


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def _answer(row: Row) -> str:
    return " ".join(_words(row["answer"]))


def _group(row: Row) -> str:
    return str(row.get("image_group") or row["image_id"])
