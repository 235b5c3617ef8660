"""Parse a generator's outputs into questions; no text raises, no question is lost (paper, section 3.1)."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from abo_vqa.common.schema import RawOutput
from abo_vqa.common.words import fold, text_of
from abo_vqa.questions.schema import Question

# How an output was read.
PLAIN, UNFENCED, EMBEDDED, REPAIRED = "plain", "unfenced", "embedded", "repaired"
READ_IN_PART, NOT_READ = "read_in_part", "not_read"
# Maximum number of characters read of an output that is not plain JSON: the time of the repairing parser can grow with
# the square of the length. The longest output of the paper's generator has 1,186.
LONGEST_REPAIRED = 10_000

_FENCE = re.compile(r"```(?:json)?\s*(.*?)(?:```|$)", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"\{|\[(?=\s*\{)")
_LETTER = re.compile(r"[A-Za-z]")


class Parsed(NamedTuple):
    """All questions of all outputs, the outputs without any, and the number of outputs by way of reading."""

    questions: list[Question]
    unparsable: list[RawOutput]
    readings: Counter[str]


def flatten(outputs: Iterable[RawOutput]) -> Parsed:
    """Return the questions of the outputs as given, except that runs of spaces in the question collapse.

    Every entry of an output becomes a question, so that the expectations reject it, not the parser.
    """
    parsed = Parsed([], [], Counter())
    for raw in outputs:
        entries, reading = read_output(raw.output)
        parsed.readings[reading] += 1
        parsed.questions.extend(_question(raw, index, entry) for index, entry in enumerate(entries))
        if not entries:
            parsed.unparsable.append(raw)
    return parsed


def parse_output(text: str) -> list[Any]:
    """Return the entries of an output's question list, empty if unreadable; never raises."""
    return read_output(text)[0]


def read_output(text: str) -> tuple[list[Any], str]:
    """Return the entries of an output's question list, and how it was read.

    Tries plain JSON, then the JSON between code fences. Then, on the first LONGEST_REPAIRED characters, a repairing
    parser and the valid JSON values in the text, whichever finds more questions. Never raises.
    """
    fences = _FENCE.findall(text)
    for parts, reading in (([text], PLAIN), (fences, UNFENCED)):
        try:
            entries = [entry for part in parts for entry in _entries(json.loads(part))]
        except (ValueError, RecursionError):
            continue
        if entries or reading == PLAIN:
            return entries, reading
    beginning = text[:LONGEST_REPAIRED]
    repaired = _repaired(_FENCE.findall(beginning)) or _repaired([beginning])
    embedded = _embedded(beginning)
    # The repairing parser treats a second value as a correction of the first, and drops the first.
    entries, reading = (embedded, EMBEDDED) if _asked(embedded) > _asked(repaired) else (repaired, REPAIRED)
    if not entries:
        return [], NOT_READ
    return entries, reading if beginning == text else READ_IN_PART


def _repaired(parts: Iterable[str]) -> list[Any]:
    try:
        import json_repair

        return [entry for part in parts for entry in _entries(json_repair.loads(part))]
    except Exception:
        # The repairing parser may raise anything on arbitrary text, and one bad output must not stop the stage.
        return []


def _embedded(text: str) -> list[Any]:
    entries: list[Any] = []
    place = 0
    while opening := _OPENING.search(text, place):
        try:
            value, place = json.JSONDecoder().raw_decode(text, opening.start())
            found = _entries(value)
        except (ValueError, RecursionError):
            place = opening.end()
            continue
        entries.extend(found if _asked(found) else ())
    return entries


def _entries(value: Any) -> list[Any]:
    """Return the question list that a value is or contains, with any entries; else the questions within the value."""
    if isinstance(value, list):
        # Models also nest {"questions": [...]} in a list of questions.
        return [part for entry in value for part in _entries(entry) or [entry]]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("questions"), list):
        return _entries(value["questions"])
    if "question" in value:
        return [value]
    return [entry for part in value.values() for entry in _entries(part) if _asks(entry)]


def _asks(entry: Any) -> bool:
    return isinstance(entry, dict) and "question" in entry


def _asked(entries: Iterable[Any]) -> int:
    return sum(map(_asks, entries))


def _question(raw: RawOutput, index: int, entry: Any) -> Question:
    fields = entry if isinstance(entry, dict) else {}
    kind = fold(fields.get("type"))
    return Question(
        qa_id=f"{PurePosixPath(raw.image_path).stem}-{index}",
        product_id=raw.product_id,
        image_path=raw.image_path,
        generator=raw.generator,
        question_type=kind,
        question=" ".join(text_of(fields.get("question")).split()),
        answer=text_of(fields.get("answer")),
        options=tuple(_options(fields)),
        kind=kind,
        model=raw.model,
        seed=raw.seed,
        prompt=raw.prompt,
    )


def _options(fields: dict[str, Any]) -> list[str]:
    given, distractors = fields.get("options"), fields.get("distractors")
    if isinstance(given, dict) and all(_LETTER.fullmatch(text_of(key)) for key in given):
        return [f"{key}) {text_of(value)}" for key, value in given.items()]
    if isinstance(given, list):
        return [text_of(option) for option in given]
    if isinstance(distractors, list):
        return [text_of(option) for option in (fields.get("answer"), *distractors)]
    return []
