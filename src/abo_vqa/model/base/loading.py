"""Load a base model, optionally quantized, and its processor."""

from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
)

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import ModelParams, QuantizationParams, WeightsParams
from abo_vqa.common.project import model_source
from abo_vqa.model.base.devices import warn_of_unusable_gpus
from abo_vqa.model.base.parts import HEAD, empty_model, vision_parts
from abo_vqa.model.base.prompts import check_template, turn_end
from abo_vqa.model.families.lookup import family_of

# Below this width, splitting an operation between CPU cores costs more than it saves: the demo's evaluation of a model
# takes 35 s with one thread and 55 s with two; its training takes the same time with either.
NARROW = 256


def load_processor(params: ModelParams) -> Any:
    """Return the base model's processor, with images processed by Pillow so that pixels are equal on every machine.

    Beside the processor's own, it has the attributes `family`, and `ends`, the tokens that end an answer, the one to
    train first. Raises InputError if the model cannot be found or its chat template has no place for an image.
    """
    config = load_config(params)
    family = family_of(config)
    name, commit = model_source(params.base, "model.base")
    source: dict[str, Any] = {"pretrained_model_name_or_path": name, "revision": commit}
    try:
        processor = family.load_processor(source, params.image)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"model.base: the processor of {params.base!r} cannot be loaded: {reason}") from error
    processor.family = family
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template or family.template
    check_template(processor, params.base)
    processor.ends = answer_ends(processor, _generation_ends(source))
    return processor


def answer_ends(processor: Any, generation: list[int]) -> tuple[int, ...]:
    """Return the tokens that end an answer: the chat template's, the tokenizer's and those of generation.

    Training teaches the first; generation stops at each, and ranking adds up their probabilities.
    """
    tokenizer = processor.tokenizer
    known = [turn_end(processor), tokenizer.eos_token_id, *generation]
    return tuple(dict.fromkeys(token for token in known if token is not None))


def _generation_ends(source: dict[str, Any]) -> list[int]:
    try:
        ends = GenerationConfig.from_pretrained(source["pretrained_model_name_or_path"], revision=source["revision"])
    except OSError:  # the model has none
        return []
    return ends.eos_token_id if isinstance(ends.eos_token_id, list) else [ends.eos_token_id]


def load_base(params: WeightsParams, attention: str | None = None) -> PreTrainedModel:
    """Return the base model in evaluation mode, quantized as configured, on the GPU if available.

    attention: transformers' name of the implementation; None: SDPA, or eager where the model has no other. Raises
    InputError if the model cannot be found.
    """
    config = load_config(params)
    warn_of_unusable_gpus()
    name, commit = model_source(params.base, "model.base")
    if not torch.cuda.is_available() and config.get_text_config().hidden_size < NARROW:
        torch.set_num_threads(1)
    quantization = params.quantization
    device: Any = {"": torch.cuda.current_device()} if torch.cuda.is_available() else {"": "cpu"}
    model = AutoModelForImageTextToText.from_pretrained(
        name,
        revision=commit,
        dtype=compute_dtype(quantization),
        quantization_config=bitsandbytes_config(quantization, config) if quantization.load_in_4bit else None,
        device_map=device,
        attn_implementation=attention,
        trust_remote_code=False,
    )
    guard_cpu_quantization(model)
    return model.eval()


def compute_dtype(params: QuantizationParams) -> torch.dtype:
    """Return the configured number format; auto: bfloat16 on a GPU that has it, else float16, and float32 on CPUs."""
    if params.compute_dtype != "auto":
        return getattr(torch, params.compute_dtype)
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def bitsandbytes_config(params: QuantizationParams, config: Any) -> BitsAndBytesConfig:
    """Return the 4-bit settings (paper, listing 2) of a model's language part; the rest stays as it is.

    bitsandbytes has no field `quantize_kv_cache`.
    """
    return BitsAndBytesConfig(
        load_in_4bit=params.load_in_4bit,
        bnb_4bit_quant_type=params.quant_type,
        bnb_4bit_use_double_quant=params.double_quant,
        bnb_4bit_compute_dtype=compute_dtype(params),
        # transformers 5 matches these from the root of the model. Any list replaces the default one, so it must name
        # the head as well.
        llm_int8_skip_modules=[*vision_parts(empty_model(config, torch.float32)), HEAD],
    )


def guard_cpu_quantization(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    It repacks at the first forward pass in evaluation mode, and gradients computed afterwards are silently wrong. Other
    devices are unaffected.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def load_config(params: WeightsParams) -> Any:
    """Return the base model's configuration, without its weights; InputError if it cannot be opened."""
    name, commit = model_source(params.base, "model.base")
    try:
        return AutoConfig.from_pretrained(name, revision=commit, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if "trust_remote_code" in str(error):
            reason = "it brings code of its own, which is never run; transformers must know the model"
        raise InputError(
            f"model.base: cannot open {params.base!r}: {reason} (give a model folder or a downloadable id)"
        ) from error
