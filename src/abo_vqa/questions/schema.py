"""The question set's vocabulary: types, columns, and one question as it passes from parsing to the table."""

from dataclasses import dataclass

import pyarrow as pa

YES_NO, COLOR, MATERIAL, SHAPE = "yes/no", "color", "material", "shape"
COUNTING, COMPARISON, ATTRIBUTE = "counting", "comparison", "attribute"
QUESTION_TYPES = (YES_NO, COLOR, MATERIAL, SHAPE, COUNTING, COMPARISON, ATTRIBUTE)


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
    """One question as found in an output, folded but not yet checked; any field may be empty or wrong."""

    qa_id: str
    product_id: str
    image_path: str
    generator: str
    question_type: str
    question: str
    answer: str
    options: tuple[str, ...]


_WORDS = pa.list_(pa.string())

QUESTION_SCHEMA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("product_id", pa.string()),
        ("image_id", pa.string()),
        ("image_path", pa.string()),
        ("question_type", pa.string()),
        ("question", pa.string()),
        ("options", _WORDS),
        ("answer", pa.string()),
        ("answer_index", pa.int64()),
        ("generator", pa.string()),
    ]
)
SPLIT_SCHEMA = QUESTION_SCHEMA.append(pa.field("image_sha256", pa.string()))
# reason: the first expectation that failed, reasons: all of them. An output that yields no question at all
# has the reason "unparsable", its text in `output`, and nothing in the columns of a question.
QUARANTINE_SCHEMA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("product_id", pa.string()),
        ("image_path", pa.string()),
        ("generator", pa.string()),
        ("question_type", pa.string()),
        ("question", pa.string()),
        ("options", _WORDS),
        ("answer", pa.string()),
        ("output", pa.string()),
        ("reason", pa.string()),
        ("reasons", _WORDS),
    ]
)
