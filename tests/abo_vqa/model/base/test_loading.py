"""The base model's files: what is missing is named, and the chat template is saved with them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ModelParams
from abo_vqa.model.base.loading import compute_dtype, load_base, load_processor
from abo_vqa.model.base.prompts import render_prompt
from abo_vqa.model.collators import answer_tokens
from abo_vqa.training.settings import autocast


def test_a_missing_model_is_explained(tiny_params: Params) -> None:
    nowhere = tiny_params.model.model_copy(update={"base": "models/nowhere"})
    with pytest.raises(InputError, match=r"model\.base: there is no folder models/nowhere"):
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


VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {% for part in m['content'] %}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %} ASSISTANT:"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
# A language model's: it takes no parts. Gemma's ends a turn with a token of its own.
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role'])"
    " + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def with_template(base: Path, folder: Path, template: str | None, file: str = "chat_template.jinja") -> ModelParams:
    """Copy a model folder and give it another chat template, or none."""
    shutil.copytree(base, folder)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        text = json.dumps({"chat_template": template}) if file.endswith(".json") else template
        (folder / file).write_text(text)
    quantization = {"load_in_4bit": True, "quant_type": "nf4", "double_quant": True, "compute_dtype": "auto"}
    return ModelParams.model_validate({"base": str(folder), "quantization": quantization})


@pytest.mark.parametrize("file", ["chat_template.jinja", "chat_template.json"])
def test_a_model_is_asked_in_its_own_chat_format(tiny_base: Path, tmp_path: Path, file: str) -> None:
    processor = load_processor(with_template(tiny_base, tmp_path / "vicuna", VICUNA, file))
    assert render_prompt(processor, "Which color?") == "USER: <image>\nWhich color? ASSISTANT:"
    assert processor.ends == (processor.tokenizer.eos_token_id,)


def test_a_language_models_template_gets_the_images_token_in_its_text(tiny_base: Path, tmp_path: Path) -> None:
    params = with_template(tiny_base, tmp_path / "gemma", GEMMA, "tokenizer.jinja")
    settings = json.loads((tmp_path / "gemma" / "tokenizer_config.json").read_text())
    (tmp_path / "gemma" / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": GEMMA}))
    processor = load_processor(params)
    assert render_prompt(processor, "Hm?") == (
        "<bos><start_of_turn>user\n<image>\nHm?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_without_a_template_the_model_is_asked_as_gemma(tiny_base: Path, tmp_path: Path) -> None:
    processor = load_processor(with_template(tiny_base, tmp_path / "none", None))
    assert render_prompt(processor, "Hm?").endswith("Hm?<end_of_turn>\n<start_of_turn>model\n")


@pytest.mark.parametrize("template", ["{{ raise_exception('no images') }}", "{{ messages[0]['role'] }}"])
def test_a_template_without_a_place_for_the_image_is_refused(tiny_base: Path, tmp_path: Path, template: str) -> None:
    with pytest.raises(InputError, match=r"model\.base: the chat template of .*odd"):
        load_processor(with_template(tiny_base, tmp_path / "odd", template))


def test_an_answer_ends_as_the_template_and_generation_say(tiny_base: Path, tmp_path: Path) -> None:
    params = with_template(tiny_base, tmp_path / "ends", GEMMA)
    tokenizer = load_processor(params).tokenizer
    turn = "<end_of_turn>"
    tokenizer.add_special_tokens({"additional_special_tokens": [turn]})
    tokenizer.save_pretrained(tmp_path / "ends")
    (tmp_path / "ends" / "chat_template.jinja").write_text(GEMMA)
    (tmp_path / "ends" / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))
    processor = load_processor(params)
    assert processor.ends == (processor.tokenizer.convert_tokens_to_ids(turn), 1, 5)
    assert answer_tokens(processor, "red")[-1] == processor.ends[0]


@pytest.mark.parametrize(("fit", "left"), [("pad", True), ("crop", False), ("resize", True)])
def test_what_a_wide_photograph_keeps(tiny_base: Path, fit: str, left: bool) -> None:
    quantization = {"load_in_4bit": True, "quant_type": "nf4", "double_quant": True, "compute_dtype": "auto"}
    params = ModelParams.model_validate({"base": str(tiny_base), "image": fit, "quantization": quantization})
    wide = Image.new("RGB", (300, 100), (0, 0, 255))
    wide.paste((255, 0, 0), (0, 0, 60, 100))  # a red stripe at the left
    processor = load_processor(params)
    pixels = processor.image_processor(wide, return_tensors="pt").pixel_values[0]
    side = processor.image_processor.size["height"] if fit != "crop" else processor.image_processor.crop_size["height"]
    assert pixels.shape == (3, side, side)
    middle = pixels[:, side // 2]
    assert bool((middle[0] > middle[2]).any()) == left
    above = pixels[:, 0, side // 2]
    # The bars have CLIP's mean color, 0 once normalized.
    assert (above.abs() < 0.02).all() == (fit == "pad")
