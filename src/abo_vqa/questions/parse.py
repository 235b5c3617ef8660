"""From a generator's text to questions; no text raises and no question is lost (paper, section 3.1)."""

import json
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from abo_vqa.questions.schema import (
    ATTRIBUTE,
    COLOR,
    COMPARISON,
    COUNTING,
    MATERIAL,
    SHAPE,
    YES_NO,
    Question,
    RawOutput,
)

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```|$)", re.DOTALL | re.IGNORECASE)
# No minus sign: "-1" is not 1.
_OUTER = " \t\r\n.,;:!?\"'`()[]{}“”‘’"
_SUBJECTS = (
    (COLOR, re.compile(r"\bcolou?r", re.IGNORECASE)),
    (MATERIAL, re.compile(r"\b(?:materials?|made (?:of|from|out)|fabric)\b", re.IGNORECASE)),
    (SHAPE, re.compile(r"\bshaped?\b", re.IGNORECASE)),
)


def flatten(outputs: Iterable[RawOutput]) -> tuple[list[Question], list[RawOutput]]:
    """Return all questions of all outputs, and the outputs that hold none.

    Each entry of an output becomes a question whatever it is, so that the expectations, not the parser,
    refuse it.
    """
    questions: list[Question] = []
    unparsable: list[RawOutput] = []
    for raw in outputs:
        entries = parse_output(raw.output)
        questions += [_question(raw, index, entry) for index, entry in enumerate(entries)]
        if not entries:
            unparsable.append(raw)
    return questions, unparsable


def parse_output(text: str) -> list[Any]:
    """Return the entries of an output's question list: plain JSON, else without its fences, else repaired.

    An empty list where nothing can be read; never raises.
    """
    fenced = _FENCE.search(text)
    for candidate in (text, fenced[1] if fenced else ""):
        try:
            return _entries(json.loads(candidate))
        except (ValueError, RecursionError):
            continue
    try:
        import json_repair

        return _entries(json_repair.loads(fenced[1] if fenced else text))
    except Exception:
        # A repairing parser promises nothing about arbitrary text, and one bad output must not stop the
        # stage.
        return []


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = value.get("questions", [value] if "question" in value else [])
    return value if isinstance(value, list) else []


def _question(raw: RawOutput, index: int, entry: Any) -> Question:
    fields = entry if isinstance(entry, dict) else {}
    given = fields.get("options")
    options = tuple(fold(option) for option in given) if isinstance(given, list) else ()
    question = " ".join(_text(fields.get("question")).split())
    answer = fold(fields.get("answer"))
    return Question(
        qa_id=f"{PurePosixPath(raw.image_path).stem}-{index}",
        product_id=raw.product_id,
        image_path=raw.image_path,
        generator=raw.generator,
        question_type=question_type(fold(fields.get("type")), question, answer, options),
        question=question,
        answer=answer,
        options=options,
    )


def question_type(kind: str, question: str, answer: str, options: tuple[str, ...]) -> str:
    """Return the type that results are reported by, from the generator's `kind` and the question."""
    if kind == "existential" or answer in ("yes", "no") or {"yes", "no"} <= set(options):
        return YES_NO
    if kind in (COUNTING, COMPARISON):
        return kind
    return next((name for name, pattern in _SUBJECTS if pattern.search(question)), ATTRIBUTE)


def fold(value: Any) -> str:
    """Return an answer or option in lower case and without outer punctuation; "" for no scalar."""
    return " ".join(_text(value).lower().strip(_OUTER).split())


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        return ""
    try:
        # JSON can spell half a surrogate pair, which no table can hold.
        return str(value).encode(errors="replace").decode()
    except ValueError:  # an integer of more digits than Python prints
        return ""
