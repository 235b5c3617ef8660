"""Memory from a model's geometry: against a real quantized model and a real forward pass, and published figures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig

from abo_vqa.common.params import Params
from abo_vqa.model.base.loading import load_base
from abo_vqa.model.base.parts import empty_model
from abo_vqa.planning.memory import kept_for_backward, weight_bytes
from abo_vqa.training.passes import kept_bytes
from abo_vqa.training.settings import lora_config


def stored(model: Any) -> int:
    """Return the bytes of a loaded model's weights with the scales of the quantized ones."""
    total = sum(parameter.nbytes for parameter in model.parameters())
    for parameter in model.parameters():
        if state := getattr(parameter, "quant_state", None):
            total += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
    return total


@pytest.mark.parametrize("double", [True, False])
def test_weights_take_what_loaded_ones_take(tiny_params: Params, double: bool) -> None:
    quantization = tiny_params.model.quantization.model_copy(update={"double_quant": double})
    model = load_base(tiny_params.model.model_copy(update={"quantization": quantization}))
    computed = weight_bytes(empty_model(model.config, torch.float32), quantization)
    assert computed == pytest.approx(stored(model), rel=0.02)


@pytest.mark.parametrize(("sequences", "length", "vision"), [(1, 50, False), (3, 80, False), (2, 40, True)])
def test_a_pass_keeps_what_a_real_one_keeps(
    tiny_base: Path, tiny_params: Params, sequences: int, length: int, vision: bool
) -> None:
    base = load_base(tiny_params.model)
    lora = tiny_params.train.lora.model_copy(update={"vision_tower": vision})
    model: Any = get_peft_model(base, lora_config(lora, base)).train()
    side = base.config.vision_config.image_size
    hidden = torch.randn(sequences, length, base.config.get_text_config().hidden_size)
    seen = torch.zeros(sequences, 1, length, length).masked_fill_(torch.ones(length, length).triu(1).bool(), -torch.inf)
    places = torch.arange(length).expand(sequences, -1)

    def forward() -> torch.Tensor:
        decoder = model.get_base_model().get_decoder()
        said = decoder(inputs_embeds=hidden, attention_mask=seen, position_ids=places, use_cache=False)
        if not vision:
            return said.last_hidden_state
        looked = model.get_base_model().model.vision_tower(torch.zeros(sequences, 3, side, side))
        # Both graphs stay until the storages are counted.
        return said.last_hidden_state.sum() + looked.last_hidden_state.sum()

    config = AutoConfig.from_pretrained(tiny_base)
    computed = kept_for_backward(config, lora, torch.float32, sequences, length, gpu=False)
    assert computed == pytest.approx(kept_bytes(forward, model), rel=0.1)


def test_an_adapted_vision_tower_keeps_more_and_its_dropout_less_on_a_gpu(tiny_base: Path, tiny_params: Params) -> None:
    config, lora = AutoConfig.from_pretrained(tiny_base), tiny_params.train.lora
    adapted = lora.model_copy(update={"vision_tower": True})
    sizes = {
        (gpu, one.vision_tower): kept_for_backward(config, one, torch.float16, 2, 40, gpu)
        for gpu in (True, False)
        for one in (lora, adapted)
    }
    assert sizes[True, True] > sizes[True, False]
    vision = config.vision_config
    tokens = (vision.image_size // vision.patch_size) ** 2 + 1
    # Of the attention, q, k and v read the hidden state.
    inputs = 3 * vision.num_hidden_layers * vision.hidden_size
    both, language = (sizes[False, v] - sizes[True, v] for v in (True, False))
    assert both - language == 2 * tokens * inputs


def test_dropout_keeps_less_on_a_gpu(tiny_base: Path, tiny_params: Params) -> None:
    config, lora = AutoConfig.from_pretrained(tiny_base), tiny_params.train.lora
    sizes = {gpu: kept_for_backward(config, lora, torch.float16, 1, 40, gpu) for gpu in (True, False)}
    text = config.get_text_config()
    # q, k, v, gate and up read the hidden state, o the heads' outputs, down the intermediate one.
    heads = text.num_attention_heads * text.head_dim
    inputs = text.num_hidden_layers * (5 * text.hidden_size + heads + text.intermediate_size)
    assert sizes[False] - sizes[True] == 40 * inputs
