"""The base model's files: what is missing is named, and the chat template is saved with them."""

from pathlib import Path

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.model.base.loading import load_processor


def test_a_missing_model_is_explained(tiny_params: Params) -> None:
    nowhere = tiny_params.model.model_copy(update={"base": "models/nowhere"})
    with pytest.raises(InputError, match=r"model\.base: cannot open 'models/nowhere'"):
        load_processor(nowhere)


def test_the_chat_template_travels_with_the_package(tiny_base: Path) -> None:
    assert (tiny_base / "chat_template.jinja").read_text().count("start_of_turn") == 2
