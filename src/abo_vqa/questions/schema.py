"""The question set's vocabulary: types, columns, and one question as it passes from parsing to the table."""

from dataclasses import dataclass

import pyarrow as pa

YES_NO, COLOR, MATERIAL, SHAPE = "yes/no", "color", "material", "shape"
COUNTING, COMPARISON, ATTRIBUTE = "counting", "comparison", "attribute"
QUESTION_TYPES = (YES_NO, COLOR, MATERIAL, SHAPE, COUNTING, COMPARISON, ATTRIBUTE)
EXISTENTIAL = "existential"
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# What the paper asks about every image (section 3.1): so many questions of each kind.
COMPOSITION = {EXISTENTIAL: 1, ATTRIBUTE: 2, COUNTING: 1, COMPARISON: 1}


@dataclass(frozen=True)
class RawOutput:
    """What a generator said about one image: a text that should hold questions (paper, section 3.1).

    seed: what its random draws came from; None where the output was recorded elsewhere. model: id or folder of the
    model that said it, prompt: digest of what it was asked; None where no model was, or nobody wrote it down.
    """

    product_id: str
    image_path: str
    generator: str
    seed: int | None
    output: str
    model: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Question:
    """One question on its way from an output to a table; before it is checked, any field may be empty or wrong.

    kind: what the generator called it (existential, attribute, counting, comparison). question_type: one of
    QUESTION_TYPES once types are split, the kind before. generator, model, seed, prompt: see RawOutput. repairs: names
    of what was mended, in order.
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
# image_phash: 64 bits in hexadecimal; image_group: questions/near_duplicates.py.
# matched_options, balanced: questions/matching.py; null and false where the question is not kept.
SPLIT_SCHEMA = (
    QUESTION_SCHEMA.append(pa.field("image_sha256", pa.string()))
    .append(pa.field("image_phash", pa.string()))
    .append(pa.field("image_group", pa.string()))
    .append(pa.field("matched_options", _WORDS))
    .append(pa.field("balanced", pa.bool_()))
)
# A question is kept as it was given, with what it failed after repair: reason is the first, reasons are all.
# An output without questions has the reason "unparsable", its text in `output`, and nothing in the question's columns.
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
