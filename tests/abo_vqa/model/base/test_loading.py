"""The base model's files: what is missing is named, and the chat template is saved with them."""

from pathlib import Path

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.model.base.loading import compute_dtype, load_base, load_processor
from abo_vqa.training.settings import autocast


def test_a_missing_model_is_explained(tiny_params: Params) -> None:
    nowhere = tiny_params.model.model_copy(update={"base": "models/nowhere"})
    with pytest.raises(InputError, match=r"model\.base: cannot open 'models/nowhere'"):
        load_processor(nowhere)


def test_the_chat_template_travels_with_the_package(tiny_base: Path) -> None:
    assert (tiny_base / "chat_template.jinja").read_text().count("start_of_turn") == 2


@pytest.mark.parametrize(
    ("cuda", "bf16", "wanted"),
    [(False, False, torch.float32), (True, False, torch.float16), (True, True, torch.bfloat16)],
)
def test_the_number_format_is_that_of_the_card(
    tiny_params: Params, monkeypatch: pytest.MonkeyPatch, cuda: bool, bf16: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    quantization = tiny_params.model.quantization
    assert compute_dtype(quantization) == wanted, "the committed parameters say auto"
    assert compute_dtype(quantization.model_copy(update={"compute_dtype": "float32"})) == torch.float32
    # The weights and autocast agree.
    expected = {torch.float32: "no", torch.float16: "fp16", torch.bfloat16: "bf16"}[wanted]
    assert autocast(tiny_params.train, wanted) == expected
    assert autocast(tiny_params.train.model_copy(update={"mixed_precision": "no"}), wanted) == "no"


def test_on_a_cpu_auto_is_float32(tiny_params: Params) -> None:
    assert load_base(tiny_params.model).dtype == torch.float32
