"""The schema of a generated output: five questions, each with an answer and three distractors (paper, section 3.1).

JSON Schema cannot require that an answer is among its options. So the model writes `answer` and `distractors`, and the
options are combined, and shuffled, when the output is read. Nor can it require that four words differ, except by
listing them, as for yes and no.
"""

import json
from typing import Any

from jsonschema import Draft202012Validator

from abo_vqa.common.params.data import VlmParams

DISTRACTORS = 3
COUNTS = [str(number) for number in range(11)]
YES_NO = (("yes", "no"), ("no", "yes"))
NEITHER = ("maybe", "unclear")

TRUNCATED, NOT_JSON, OTHER_FORM = "truncated", "not_json", "other_form"


def question_schema(longest_question: int, longest_word: int) -> dict[str, Any]:
    """Return the JSON Schema of an output: one existential, two attribute, one counting, one comparison question.

    longest_question, longest_word: bounds in characters. All text is ASCII, so these are bytes too.
    """
    question = {"type": "string", "pattern": rf"^[A-Z][A-Za-z0-9 ,'-]{{5,{longest_question - 2}}}\?$"}
    word = {"type": "string", "pattern": rf"^[a-z][a-z-]{{0,{longest_word - 1}}}$"}
    count = {"type": "string", "enum": COUNTS}

    def entry(kind: str, answer: dict[str, Any], distractors: list[dict[str, Any]]) -> dict[str, Any]:
        return _object(
            {"type": {"const": kind}, "question": question, "answer": answer, "distractors": _tuple(distractors)}
        )

    existential = [
        entry("existential", {"const": answer}, [{"const": word} for word in (other, *NEITHER)])
        for answer, other in YES_NO
    ]
    attribute = entry("attribute", word, [word] * DISTRACTORS)
    counting = entry("counting", count, [count] * DISTRACTORS)
    comparison = entry("comparison", word, [word] * DISTRACTORS)
    return _object({"questions": _tuple([{"anyOf": existential}, attribute, attribute, counting, comparison])})


def longest_output(longest_question: int, longest_word: int) -> str:
    """Return an output of the greatest length that the schema allows; it is ASCII, one byte per character."""
    text, word, count = "A" * (longest_question - 1) + "?", "a" * longest_word, max(COUNTS, key=len)
    entries = [
        ("existential", "yes", ["no", *NEITHER]),
        ("attribute", word, [word] * DISTRACTORS),
        ("attribute", word, [word] * DISTRACTORS),
        ("counting", count, [count] * DISTRACTORS),
        ("comparison", word, [word] * DISTRACTORS),
    ]
    questions = [
        {"type": kind, "question": text, "answer": answer, "distractors": distractors}
        for kind, answer, distractors in entries
    ]
    return json.dumps({"questions": questions})


def failure_of(text: str, ended: bool, schema: dict[str, Any]) -> str | None:
    """Return an output's kind of failure, or None; ended: whether the model generated an end token."""
    if not ended:
        return TRUNCATED
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return NOT_JSON
    return None if Draft202012Validator(schema).is_valid(value) else OTHER_FORM


def count_questions(text: str) -> int:
    """Return the number of questions in an output, valid or not; 0 if it is not JSON or has no list of them."""
    try:
        questions = json.loads(text)["questions"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return 0
    return len(questions) if isinstance(questions, list) else 0


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _tuple(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def most_new_tokens(params: VlmParams) -> int:
    """Return the maximum number of tokens of an output.

    A constrained output must be able to finish for any weights: a token is at least one byte, then the end token.
    """
    if not params.constrained:
        return params.max_new_tokens
    return len(longest_output(params.longest_question, params.longest_word)) + 1
