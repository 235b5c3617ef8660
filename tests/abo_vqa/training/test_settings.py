"""Flash attention where the GPU, the package and the number format have it; otherwise a reason."""

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import TrainParams
from abo_vqa.training import settings
from abo_vqa.training.settings import attention

AMPERE, TURING = (8, 0), (7, 5)
HALF, FULL = torch.bfloat16, torch.float32


@pytest.fixture
def by_question(tiny_params: Params) -> TrainParams:
    return tiny_params.train.model_copy(update={"packing": "question"})


def pretend(patch: pytest.MonkeyPatch, capability: tuple[int, int] | None, package: bool = True) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    patch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    patch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    patch.setattr(settings, "is_flash_attn_2_available", lambda: package)


def test_flash_attention_is_taken_where_it_works(by_question: TrainParams, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, AMPERE)
    assert attention(by_question, HALF) == "flash_attention_2"
    assert attention(by_question.model_copy(update={"attention": "flash_attention_2"}), HALF) == "flash_attention_2"
    assert attention(by_question.model_copy(update={"attention": "sdpa"}), HALF) == "sdpa"
    # Its masks are causal; that of a shared image is not.
    assert attention(by_question.model_copy(update={"packing": "image"}), HALF) is None


@pytest.mark.parametrize(
    ("capability", "package", "dtype", "reason"),
    [
        (None, True, HALF, "needs a GPU"),
        (TURING, True, HALF, "from Ampere on, which a Tesla T4 is not"),
        (AMPERE, False, HALF, "needs the package flash-attn, which is not installed"),
        (AMPERE, True, FULL, "compute_dtype is float32"),
    ],
)
def test_where_it_does_not_work_auto_does_without_it_and_a_wish_is_answered(
    by_question: TrainParams,
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int] | None,
    package: bool,
    dtype: torch.dtype,
    reason: str,
) -> None:
    pretend(monkeypatch, capability, package)
    assert attention(by_question, dtype) is None, "SDPA where the model has it"
    with pytest.raises(InputError, match=f"train.attention: flash_attention_2 .*{reason}.*; set it to sdpa or auto"):
        attention(by_question.model_copy(update={"attention": "flash_attention_2"}), dtype)
