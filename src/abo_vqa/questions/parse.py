"""Parse a generator's outputs into questions; no text raises, no question is lost (paper, section 3.1)."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from abo_vqa.common.schema import RawOutput
from abo_vqa.common.words import clean_text, fold, text_of
from abo_vqa.questions.drafts import without_drafts
from abo_vqa.questions.options import read_options
from abo_vqa.questions.schema import Question

# How an output was read.
PLAIN, UNFENCED, EMBEDDED, REPAIRED = "plain", "unfenced", "embedded", "repaired"
READ_IN_PART, NOT_READ = "read_in_part", "not_read"
# Maximum number of characters read of an output that is not plain JSON: the time of the repairing parser can grow with
# the square of the length. The longest output of the paper's generator has 1,186.
LONGEST_REPAIRED = 10_000

_FENCE = re.compile(r"```(?:json)?\s*(.*?)(?:```|$)", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"\{|\[(?=\s*\{)")
# ABO's own form of an image path: the folder is the beginning of a name that is unique.
_ABO_PATH = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{6})\.jpg")


class Cut(dict[str, Any]):
    """An entry in whose middle its output ends: its last value may lack a part."""


class Parsed(NamedTuple):
    """All questions of all outputs, the outputs without any, and the number of outputs by way of reading."""

    questions: list[Question]
    unparsable: list[RawOutput]
    readings: Counter[str]


def flatten(outputs: Iterable[RawOutput]) -> Parsed:
    """Return the questions of the outputs in clean_text, runs of spaces in the question collapsed.

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

    Tries plain JSON, then, without the drafts of a model that thinks, the JSON between code fences. Then, on the first
    LONGEST_REPAIRED characters, a repairing parser and the valid JSON values in the text, whichever finds more
    questions. Never raises.
    """
    try:
        return _entries(json.loads(text)), PLAIN
    except (ValueError, RecursionError):
        text = without_drafts(text)
    for parts, reading in (([text], PLAIN), (_FENCE.findall(text), UNFENCED)):
        try:
            entries = [entry for part in parts for entry in _entries(json.loads(part))]
        except (ValueError, RecursionError):
            continue
        if entries:
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

        return [entry for part in parts for entry in _until_cut(part, _entries(json_repair.loads(part)))]
    except Exception:
        # The repairing parser may raise anything on arbitrary text, and one bad output must not stop the stage.
        return []


def _until_cut(text: str, entries: list[Any]) -> list[Any]:
    """Return the entries, the last one as Cut if the text ends within a value or an entry."""
    end = text[max(text.rfind("}"), text.rfind("]")) + 1 :]
    if entries and isinstance(entries[-1], dict) and re.search(r"[\"'“”{[:]", end):
        entries[-1] = Cut(entries[-1])
    return entries


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


def image_name(image_path: str) -> str:
    """Return the name of an image in the ids of its questions: the whole path, or of an ABO image the file's stem."""
    found = _ABO_PATH.fullmatch(image_path)
    return found[2] if found else image_path


def _question(raw: RawOutput, index: int, entry: Any) -> Question:
    fields = entry if isinstance(entry, dict) else {}
    kind = fold(fields.get("type"))
    options = read_options(fields)
    return Question(
        qa_id=f"{image_name(raw.image_path)}-{index}",
        product_id=raw.product_id,
        image_path=raw.image_path,
        generator=raw.generator,
        question_type=kind,
        question=" ".join(clean_text(text_of(fields.get("question"))).split()),
        answer=options.answer,
        options=tuple(options.texts),
        readable=options.readable and not isinstance(entry, Cut),
        kind=kind,
        model=raw.model,
        seed=raw.seed,
        prompt=raw.prompt,
    )
