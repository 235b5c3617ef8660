"""How often an answer contradicts the catalog: the listing's color, material and shape are the referee."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from abo_vqa.common.words import BASIC_COLORS, COMMON_MATERIALS, COMMON_SHAPES, clean_text, color_word, single_word
from abo_vqa.questions.schema import Question

CONTRADICTS = "contradicts_listing"
CONFIDENCE = 0.95
FACTS = ("color", "material", "shape")
# Columns of tables/sample.parquet that say what a product is and what it is like.
COLUMNS = ("product_id", "product_type", "item_name", *FACTS, "english")
_SAME = {
    "wooden": "wood", "steel": "metal", "iron": "metal", "aluminum": "metal", "brass": "metal", "metallic": "metal",
    "circular": "round", "circle": "round", "rectangle": "rectangular", "triangle": "triangular", "cylinder":
    "cylindrical",
}  # fmt: skip
_KNOWN = {"color": BASIC_COLORS, "material": COMMON_MATERIALS, "shape": COMMON_SHAPES}
# What is asked about: the noun behind "of the", or before "have" and "made".
_SUBJECT = re.compile(
    r"^(?:what|which) (?:is the )?(?:main |primary |dominant |overall )?(?:color|material|shape) "
    r"(?:of |is |does )(?:the |this |a |an )?(?P<subject>[a-z ]+?)(?: have| made of| made from)?$"
)
_OF_SOMETHING = frozenset(("of", "on", "in", "at", "with", "behind", "under"))
_ANY = frozenset(("product", "item", "object", "it", "this"))
_WORD = re.compile(r"[a-z]+")


def contradictions(
    questions: Sequence[Question], products: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return by question type how many answers could be compared and contradict, and the contradicting qa_ids.

    products: rows with COLUMNS. Compared are questions about the whole product whose listing names, in English, one
    common color, material or shape, if the answer is one too; questions about a part are not. The share has a Wilson
    interval of CONFIDENCE.
    """
    by_id = {row["product_id"]: row for row in products}
    compared: Counter[str] = Counter()
    wrong: dict[str, set[str]] = {name: set() for name in FACTS}
    for question in questions:
        kind, product = question.question_type, by_id.get(question.product_id)
        if kind not in FACTS or product is None or not _whole(question.question, product):
            continue
        fact = _common(kind, product[kind]) if kind in product["english"] else None
        answer = _common(kind, question.answer)
        if fact and answer:
            compared[kind] += 1
            if fact != answer:
                wrong[kind].add(question.qa_id)
    found = {
        kind: {"compared": compared[kind], "contradict": len(wrong[kind])} | share(len(wrong[kind]), compared[kind])
        for kind in FACTS
        if compared[kind]
    }
    return found, set().union(*wrong.values())


def _common(kind: str, text: str | None) -> str | None:
    read: Callable[[str | None], str | None] = color_word if kind == "color" else single_word
    word = read(text)
    word = _SAME.get(word, word) if word else None
    return word if word in _KNOWN[kind] else None


def _whole(question: str, product: Mapping[str, Any]) -> bool:
    """Return whether a question is about the product itself: it is named as in its listing, or not at all."""
    found = _SUBJECT.match(" ".join(question.lower().strip(" ?.").split()))
    if found is None:
        return False
    *before, last = found["subject"].split()
    if _OF_SOMETHING & set(before):
        return False
    names = clean_text(f"{product['product_type']} {product['item_name'] or ''}")
    named = set(_WORD.findall(names.lower().replace("_", " ")))
    return last in _ANY or bool({last, f"{last}s", last.removesuffix("s")} & named)


def share(some: int, of: int) -> dict[str, float]:
    """Return the share that some are, with the ends of its Wilson interval of CONFIDENCE."""
    from scipy.stats import binomtest

    interval = binomtest(some, of).proportion_ci(CONFIDENCE, method="wilson")
    shares = {"share": some / of, "low": interval.low, "high": interval.high}
    return {name: round(float(value), 6) for name, value in shares.items()}
