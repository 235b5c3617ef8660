"""The texts that the model is asked with are the paper's."""

from abo_vqa.common.params import Params
from abo_vqa.common.params.model import PAPER_PROMPT
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.base.prompts import render_prompt


def test_prompts_are_the_papers(tiny_params: Params) -> None:
    processor = load_processor(tiny_params.model)
    options = ["red", "blue", "green", "black"]
    assert "<image>\nWhat color?\nAnswer with just one word.<" in render_prompt(
        processor, PAPER_PROMPT.text("What color?", None)
    )
    assert "<image>\nWhat color?\nOptions: red, blue, green, black\nAnswer with just one option.<" in render_prompt(
        processor, PAPER_PROMPT.text("What color?", options)
    )
