"""The question as a record, and the schemas of the tables of questions."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Question:
    """One question; before validation, any field may be empty or wrong.

    kind: the generator's name for its type (existential, attribute, counting, comparison). question_type: one of
    QUESTION_TYPES after the repair split_types, the kind before. readable: False if the generator wrote options of an
    unknown form, or if its output ends within the question. generator, model, seed, prompt: see RawOutput.
    repairs: names of the applied repairs, in order.
    """

    qa_id: str
    product_id: str
    image_path: str
    generator: str
    question_type: str
    question: str
    answer: str
    options: tuple[str, ...]
    kind: str = ""
    model: str | None = None
    seed: int | None = None
    prompt: str | None = None
    repairs: tuple[str, ...] = ()
    readable: bool = True


_WORDS = pa.list_(pa.string())
_ORIGIN = [("generator", pa.string()), ("model", pa.string()), ("seed", pa.int64()), ("prompt", pa.string())]

QUESTION_SCHEMA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("product_id", pa.string()),
        ("image_id", pa.string()),
        ("image_path", pa.string()),
        ("kind", pa.string()),
        ("question_type", pa.string()),
        ("question", pa.string()),
        ("options", _WORDS),
        ("answer", pa.string()),
        ("answer_index", pa.int64()),
        ("repairs", _WORDS),
        *_ORIGIN,
    ]
)
# A question is stored as given, with the expectations that it fails after repair: the first in `reason`, all in
# `reasons`. An output without questions has the reason "unparsable", its text in `output`, and null question columns.
QUARANTINE_SCHEMA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("product_id", pa.string()),
        ("image_path", pa.string()),
        *_ORIGIN,
        ("kind", pa.string()),
        ("question", pa.string()),
        ("options", _WORDS),
        ("answer", pa.string()),
        ("output", pa.string()),
        ("reason", pa.string()),
        ("reasons", _WORDS),
    ]
)
