"""Exported folders of several families are opened by stock classes, with the pixels and weights of ours."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import is_torchvision_available

from abo_demo.families import FAMILIES
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ModelParams
from abo_vqa.common.storage import decode_image
from abo_vqa.export.export import unquantized
from abo_vqa.export.stock import open_stock, save_stock
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.base.prompts import render_prompt
from adapted import adapted


def inputs(processor: Any, image: bytes) -> Any:
    text = render_prompt(processor, "What color is it?")
    return processor(images=[decode_image(image)], text=[text], return_tensors="pt", add_special_tokens=False)


def over(params: Params, base: Path, fit: str = "pad") -> Params:
    model = unquantized(params.model.model_copy(update={"base": str(base), "image": fit}))
    return params.model_copy(update={"model": model})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_of_a_family_is_opened_by_stock_classes(
    family: str, tiny_params: Params, images: dict[str, bytes], tmp_path: Path
) -> None:
    params = over(tiny_params, FAMILIES[family](tmp_path / "base"))
    peft, processor = adapted(params, 0, spread=0.2).eval(), load_processor(params.model)
    shown = inputs(processor, images["image-0"])
    with torch.no_grad():
        expected = peft(**shown).logits
        with peft.disable_adapter():
            plain = peft(**shown).logits
    merged, out = peft.merge_and_unload(), tmp_path / "out"
    save_stock(merged, processor, params.model, out)

    assert not list(out.glob("adapter*")) and "quantization_config" not in json.loads((out / "config.json").read_text())
    assert {oct(file.stat().st_mode) for file in out.glob("*.safetensors")} == {
        oct((out / "config.json").stat().st_mode)
    }
    model = AutoModelForImageTextToText.from_pretrained(out).eval()
    with torch.no_grad():
        assert (model(**shown).logits - expected).abs().max() < 1e-4 < (plain - expected).abs().max()
    assert model.generation_config.eos_token_id == list(processor.ends)
    assert model.generation_config.do_sample is False

    _, ours, reason = open_stock(out, params.model)
    assert ours.ends == processor.ends
    assert {name: value.tolist() for name, value in inputs(ours, images["image-0"]).items()} == {
        name: value.tolist() for name, value in shown.items()
    }
    if processor.family.processor and not is_torchvision_available():
        assert reason and "torchvision" in reason
        with pytest.raises((ImportError, ValueError), match=r"(?i)torchvision"):
            AutoProcessor.from_pretrained(out)
        # What the stock class would take: the base's own settings and template.
        for name in ("processor_config.json", "preprocessor_config.json", "chat_template.jinja"):
            if (tmp_path / "base" / name).is_file():
                assert (out / name).read_bytes() == (tmp_path / "base" / name).read_bytes()
    else:
        assert reason is None and type(AutoProcessor.from_pretrained(out)) is type(ours)


@pytest.mark.parametrize("fit", ["pad", "crop", "resize"])
def test_the_stock_processor_brings_a_photograph_to_the_same_pixels(
    fit: str, tiny_params: Params, tiny_base: Path, images: dict[str, bytes], tmp_path: Path
) -> None:
    params = over(tiny_params, tiny_base, fit)
    processor = load_processor(params.model)
    save_stock(adapted(params, 0, spread=0.2).merge_and_unload(), processor, params.model, tmp_path)
    stock = AutoProcessor.from_pretrained(tmp_path, backend="pil")
    assert torch.equal(
        inputs(stock, images["image-1"])["pixel_values"], inputs(processor, images["image-1"])["pixel_values"]
    )


def test_a_folder_without_a_processor_is_an_error(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = over(tiny_params, FAMILIES["gemma3"](tmp_path / "base"))
    model: ModelParams = params.model
    save_stock(adapted(params, 0, spread=0.2).merge_and_unload(), load_processor(model), model, tmp_path / "out")
    (tmp_path / "out/processor_config.json").write_text("{}")
    (tmp_path / "out/tokenizer_config.json").unlink()
    (tmp_path / "out/tokenizer.json").unlink()
    with pytest.raises(InputError, match="AutoProcessor cannot open it"):
        open_stock(tmp_path / "out", model)
