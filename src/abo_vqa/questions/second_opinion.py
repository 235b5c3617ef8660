"""How often a second model, which did not see the proposed answers, gives the same ones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from abo_vqa.common.schema import QUESTION_TYPES, RawOutput
from abo_vqa.common.words import DIGITS, fold
from abo_vqa.questions.label_truth import share
from abo_vqa.questions.parse import image_name
from abo_vqa.questions.schema import Question


def agreement(questions: Sequence[Question], outputs: Iterable[RawOutput]) -> dict[str, dict[str, Any]]:
    """Return by question type how many answers have a second opinion, and how many of these agree.

    The share has a Wilson interval. An opinion that is none of the options does not agree. Case, outer punctuation and
    number words make no difference.
    """
    opinions = {
        f"{image_name(output.image_path)}-{place}": opinion
        for output in outputs
        for place, opinion in (output.opinions or {}).items()
    }
    asked: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for question in questions:
        if question.qa_id in opinions:
            asked[question.question_type] += 1
            said, answer = (fold(text) for text in (opinions[question.qa_id], question.answer))
            agreed[question.question_type] += DIGITS.get(said, said) == DIGITS.get(answer, answer)
    return {
        kind: {"asked": asked[kind], "agree": agreed[kind]} | share(agreed[kind], asked[kind])
        for kind in QUESTION_TYPES
        if asked[kind]
    }
