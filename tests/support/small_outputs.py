"""Raw outputs, good ones and whatever a model might say."""

import json
from typing import Any

from hypothesis import strategies as st

from abo_vqa.common.schema import RawOutput
from abo_vqa.questions.parse import flatten
from abo_vqa.questions.repair import OPTIONS, SPELLING, repair_spelling
from abo_vqa.questions.schema import Question

GOOD = {
    "type": "attribute",
    "question": "What color is the shoe?",
    "answer": "red",
    "options": ["red", "blue", "tan", "gray"],
}
COUNT = {"type": "counting", "question": "How many?", "answer": "3", "options": ["1", "2", "3", "4"]}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner)
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["existential", "counting", "attribute", "comparison"]) | SCALARS,
        "question": st.just("What color?") | SCALARS,
        "answer": st.sampled_from(["red", "3", 11, "two words"]) | SCALARS,
        "options": st.lists(st.sampled_from(["red", "blue", 3, "3", "", "yes"]) | SCALARS, max_size=6) | ANY_JSON,
    },
)
OUTPUTS = (
    st.lists(ENTRIES | ANY_JSON, max_size=4).map(lambda entries: json.dumps({"questions": entries}))
    | ANY_JSON.map(json.dumps)
    | st.text(alphabet='{}[]",:`json questions\n0123é', max_size=60)
    | st.text(max_size=60)
)


def raw(output: str, number: int = 0) -> RawOutput:
    return RawOutput(f"B{number}@amazon.com", f"00/{number:08x}.jpg", "recorded", None, output)


def output_of(*entries: Any) -> RawOutput:
    return raw(json.dumps({"questions": list(entries)}))


def repairs(*off: str) -> dict[str, bool]:
    """All repairs but those named."""
    return {name: name not in off for name in (*SPELLING, *OPTIONS)}


def questions_of(*entries: Any) -> list[Question]:
    """Questions with their spelling repaired, but not their options."""
    return repair_spelling(flatten([output_of(*entries)]).questions, repairs())
