"""Load a LLaVA-family base model, optionally quantized, and its processor."""

from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    LlavaProcessor,
    PreTrainedModel,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import ModelParams, QuantizationParams, WeightsParams
from abo_vqa.common.project import model_source
from abo_vqa.model.base.devices import warn_of_unusable_gpus
from abo_vqa.model.base.prompts import check_template, turn_end

# transformers 5 matches these from the root of the model; "vision_tower" alone would match nothing, and CLIP and the
# projector would be quantized too. Any list replaces the default one, so it must name the head as well.
NOT_QUANTIZED = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]

# Below this width, splitting an operation between CPU cores costs more than it saves: the demo's evaluation of a model
# takes 35 s with one thread and 55 s with two; its training takes the same time with either.
NARROW = 256

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def load_processor(params: ModelParams) -> Any:
    """Return the base model's processor, with images processed by Pillow so that pixels are equal on every machine.

    For LLaVA it is assembled from its parts: the published LLaVA-Gemma repository has no processor that recent
    transformers can load, and without patch size and the extra class token the image would be one token short. Its
    attribute `ends` has the tokens that end an answer, the one to train first. Raises InputError if the model cannot be
    found or its chat template has no place for an image.
    """
    config = load_config(params)
    name, commit = model_source(params.base, "model.base")
    source: dict[str, Any] = {"pretrained_model_name_or_path": name, "revision": commit}
    if config.model_type == "llava":
        tokenizer = AutoTokenizer.from_pretrained(**source)
        saved, _ = LlavaProcessor.get_processor_dict(name, revision=commit)
        processor: Any = LlavaProcessor(
            image_processor=LlavaImageProcessorPil.from_pretrained(
                **source, **image_settings(params.image, config.vision_config.image_size)
            ),
            tokenizer=tokenizer,
            patch_size=config.vision_config.patch_size,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            num_additional_image_tokens=1,
            image_token=tokenizer.convert_ids_to_tokens(config.image_token_id),
            chat_template=saved.get("chat_template") or tokenizer.chat_template or CHAT_TEMPLATE.read_text(),
        )
    else:
        processor = AutoProcessor.from_pretrained(**source, backend="pil")
    check_template(processor, params.base)
    processor.ends = answer_ends(processor, _generation_ends(source))
    return processor


def image_settings(fit: str, side: int) -> dict[str, Any]:
    """Return the image processor's settings that bring a photograph to `side` x `side` pixels.

    pad: to a square with bars of the mean color, as LLaVA was trained; crop: the middle of it, as CLIP's processor
    does; resize: squeezed.
    """
    square = {"height": side, "width": side}
    size = {"shortest_edge": side} if fit == "crop" else square
    return {"do_pad": fit == "pad", "do_center_crop": fit == "crop", "size": size, "crop_size": square}


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


def load_base(params: WeightsParams, attention: str = "sdpa") -> PreTrainedModel:
    """Return the base model in evaluation mode, quantized as configured, on the GPU if available.

    attention: transformers' name of the implementation. Raises InputError if the model cannot be found.
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
        quantization_config=bitsandbytes_config(quantization) if quantization.load_in_4bit else None,
        device_map=device,
        attn_implementation=attention,
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


def bitsandbytes_config(params: QuantizationParams) -> BitsAndBytesConfig:
    """Return the 4-bit settings (paper, listing 2); bitsandbytes has no field `quantize_kv_cache`."""
    return BitsAndBytesConfig(
        load_in_4bit=params.load_in_4bit,
        bnb_4bit_quant_type=params.quant_type,
        bnb_4bit_use_double_quant=params.double_quant,
        bnb_4bit_compute_dtype=compute_dtype(params),
        llm_int8_skip_modules=NOT_QUANTIZED,
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
        return AutoConfig.from_pretrained(name, revision=commit)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"model.base: cannot open {params.base!r}: {reason} (give a model folder or a downloadable id)"
        ) from error
