"""Models with random weights of each family, in the classes and the layout of the published repositories."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers as hf

from abo_demo import llava_next
from abo_demo.family_files import (
    GEMMA_TURNS,
    SMOL_TURNS,
    end_ids,
    im_start,
    save,
    token_ids,
    tokenizer,
)


@dataclass(frozen=True)
class Scale:
    """Sizes of the models. text, vision: of the towers; real: an image has as many tokens as in the published ones."""

    text: dict[str, Any]
    vision: dict[str, Any]
    real: bool

    def pick(self, tiny: Any, real: Any) -> Any:
        """Return one of two values."""
        return real if self.real else tiny


TINY = Scale(
    {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
     "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096},
    {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2},
    real=False,
)  # fmt: skip
NARROW = Scale(
    {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4,
     "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 16384},
    {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4},
    real=True,
)  # fmt: skip


def save_llava(folder: Path, scale: Scale = TINY) -> Path:
    """LLaVA 1.5: CLIP and Llama, by llava-hf/llava-1.5-7b-hf."""
    words = tokenizer([], False, bos_token="<s>", eos_token="</s>", pad_token="<pad>", image_token="<image>")
    side = scale.pick(28, 336)
    vision = hf.CLIPVisionConfig(image_size=side, patch_size=14, projection_dim=32, **scale.vision)
    config = hf.LlavaConfig(
        vision_config=vision, text_config=hf.LlamaConfig(**scale.text, **end_ids(words)), vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_token_index=token_ids(words, i="<image>")["i"],
    )  # fmt: skip
    template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
        "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %} ASSISTANT:{% else %} "
        "{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    images = hf.CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    settings = {"processor_class": "LlavaProcessor", "patch_size": 14, "num_additional_image_tokens": 1,
                "vision_feature_select_strategy": "default", "image_token": "<image>"}  # fmt: skip
    return save(folder, hf.LlavaForConditionalGeneration(config), words, images, template, settings)


def save_llava_onevision(folder: Path, scale: Scale = TINY) -> Path:
    """LLaVA-OneVision: SigLIP and Qwen 2, tiles of any shape, by llava-hf/llava-onevision-qwen2-0.5b-ov-hf."""
    words = tokenizer(
        ["<|im_start|>"], True, eos_token="<|im_end|>", pad_token="<|endoftext|>", image_token="<image>",
        video_token="<video>",
    )  # fmt: skip
    side, tiles = scale.pick(28, 384), range(1, scale.pick(4, 7))
    pinpoints = [[side * high, side * wide] for high in tiles for wide in tiles]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(image_size=side, patch_size=14, vision_use_head=False, **scale.vision),
        text_config=hf.Qwen2Config(**scale.text, **end_ids(words)), vision_feature_layer=-1,
        vision_feature_select_strategy="full", image_grid_pinpoints=pinpoints, vision_aspect_ratio="anyres_max_9",
        **token_ids(words, image_token_index="<image>", video_token_index="<video>"),
    )  # fmt: skip
    images = hf.LlavaOnevisionImageProcessorPil(size={"height": side, "width": side}, image_grid_pinpoints=pinpoints)
    settings = {"processor_class": "LlavaOnevisionProcessor", "num_image_tokens": (side // 14) ** 2,
                "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9"}  # fmt: skip
    model = hf.LlavaOnevisionForConditionalGeneration(config)
    return save(folder, model, words, images, im_start("<image>\n"), settings)


QWEN = ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_IDS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}  # fmt: skip
QWEN_TURNS = im_start("<|vision_start|><|image_pad|><|vision_end|>")


def qwen_vision(scale: Scale) -> dict[str, Any]:
    """Return the settings that Qwen's vision towers have in common."""
    tower = scale.vision
    return {"depth": tower["num_hidden_layers"], "hidden_size": tower["hidden_size"], "num_heads": 2,
            "intermediate_size": tower["intermediate_size"], "out_hidden_size": scale.text["hidden_size"],
            "spatial_merge_size": 2}  # fmt: skip


def axes(scale: Scale) -> list[int]:
    """Return how many of a head's frequencies go to time, height and width."""
    return scale.pick([2, 3, 3], [8, 12, 12])


def save_qwen2_5_vl(folder: Path, scale: Scale = TINY) -> Path:
    """Qwen2.5-VL: positions of three axes, windows in its vision tower, by Qwen/Qwen2.5-VL-3B-Instruct."""
    words = tokenizer(QWEN, True, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    vision = qwen_vision(scale) | {
        "patch_size": 14, "window_size": scale.pick(56, 112), "fullatt_block_indexes": [2]
    }  # fmt: skip
    text = scale.text | end_ids(words) | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": axes(scale)},
        "tie_word_embeddings": True,
    }  # fmt: skip
    config = hf.Qwen2_5_VLConfig(vision_config=vision, text_config=text, **token_ids(words, **QWEN_IDS))
    images = hf.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28 * 4, "longest_edge": scale.pick(28 * 28 * 12, 12845056)}
    )
    model = hf.Qwen2_5_VLForConditionalGeneration(config)
    return save(folder, model, words, images, QWEN_TURNS, {"processor_class": "Qwen2_5_VLProcessor"})


def save_qwen3_vl(folder: Path, scale: Scale = TINY) -> Path:
    """Qwen3-VL: features of inner layers, too, by Qwen/Qwen3-VL-2B-Instruct."""
    words = tokenizer(QWEN, True, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    vision = qwen_vision(scale) | {
        "patch_size": 16, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": scale.pick(16, 2304)
    }  # fmt: skip
    text = scale.text | end_ids(words) | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": axes(scale),
                            "mrope_interleaved": True},
        "tie_word_embeddings": True,
    }  # fmt: skip
    config = hf.Qwen3VLConfig(vision_config=vision, text_config=text, **token_ids(words, **QWEN_IDS))
    images = hf.Qwen2VLImageProcessorPil(
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        size={"shortest_edge": scale.pick(4096, 65536), "longest_edge": scale.pick(12288, 16777216)},
    )  # fmt: skip
    model = hf.Qwen3VLForConditionalGeneration(config)
    return save(folder, model, words, images, QWEN_TURNS, {"processor_class": "Qwen3VLProcessor"})


def _idefics(folder: Path, scale: Scale, name: str, tile: int, patch: int, factor: int) -> Path:
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    words = tokenizer(
        ["<fake_token_around_image>", "<global-img>", *rows], True, bos_token="<|im_start|>",
        eos_token="<end_of_utterance>", pad_token="<|endoftext|>", image_token="<image>",
    )  # fmt: skip
    config = getattr(hf, f"{name}Config")(
        vision_config=scale.vision | {"image_size": tile, "patch_size": patch}, scale_factor=factor,
        text_config=hf.LlamaConfig(**scale.text, **end_ids(words)), pad_token_id=words.pad_token_id,
        **token_ids(words, image_token_id="<image>"),
    )  # fmt: skip
    images = getattr(hf, f"{name}ImageProcessorPil")(
        do_image_splitting=True, size={"longest_edge": scale.pick(2, 4) * tile}, max_image_size={"longest_edge": tile}
    )
    settings = {"processor_class": f"{name}Processor", "image_seq_len": (tile // patch // factor) ** 2}
    model = getattr(hf, f"{name}ForConditionalGeneration")(config)
    return save(folder, model, words, images, SMOL_TURNS, settings)


def save_smolvlm(folder: Path, scale: Scale = TINY) -> Path:
    """SmolVLM: an image in tiles with tokens between them, by HuggingFaceTB/SmolVLM2-500M-Video-Instruct."""
    return _idefics(folder, scale, "SmolVLM", *scale.pick((32, 8, 2), (512, 16, 4)))


def save_idefics3(folder: Path, scale: Scale = TINY) -> Path:
    """Idefics 3, by HuggingFaceM4/Idefics3-8B-Llama3."""
    return _idefics(folder, scale, "Idefics3", *scale.pick((32, 8, 2), (364, 14, 2)))


def windows(scale: Scale) -> dict[str, Any]:
    """Return the settings of a language model of which only the last layer sees all tokens."""
    before = ["sliding_attention"] * (scale.text["num_hidden_layers"] - 1)
    return {"sliding_window": scale.pick(24, 1024), "layer_types": [*before, "full_attention"]}


def save_gemma3(folder: Path, scale: Scale = TINY) -> Path:
    """Gemma 3: an image's tokens see each other, most layers a window, by google/gemma-3-4b-it."""
    words = tokenizer(
        ["<start_of_turn>", "<end_of_turn>"], False, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>",
    )  # fmt: skip
    side, tokens = scale.pick(56, 896), scale.pick(4, 256)
    vision = hf.SiglipVisionConfig(image_size=side, patch_size=14, vision_use_head=False, **scale.vision)
    text = scale.text | end_ids(words) | windows(scale) | {"query_pre_attn_scalar": scale.text["head_dim"]}
    config = hf.Gemma3Config(
        vision_config=vision, text_config=hf.Gemma3TextConfig(**text), mm_tokens_per_image=tokens,
        **token_ids(words, boi_token_index="<start_of_image>", eoi_token_index="<end_of_image>",
               image_token_index="<image_soft_token>"),
    )  # fmt: skip
    images = hf.Gemma3ImageProcessorPil(size={"height": side, "width": side})
    settings = {"processor_class": "Gemma3Processor", "image_seq_length": tokens}
    return save(folder, hf.Gemma3ForConditionalGeneration(config), words, images, GEMMA_TURNS, settings)


def save_paligemma(folder: Path, scale: Scale = TINY) -> Path:
    """PaliGemma 2: image and question see each other, no chat template, by google/paligemma2-3b-pt-224."""
    words = tokenizer([], False, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", image_token="<image>")
    side, width = scale.pick(28, 224), scale.text["hidden_size"]
    vision = hf.SiglipVisionConfig(image_size=side, patch_size=14, vision_use_head=False, **scale.vision)
    vision.update({"projection_dim": width})
    text = hf.Gemma2Config(**scale.text, **end_ids(words), query_pre_attn_scalar=scale.text["head_dim"])
    config = hf.PaliGemmaConfig(
        vision_config=vision, text_config=text, projection_dim=width, hidden_size=width,
        **token_ids(words, image_token_index="<image>"),
    )  # fmt: skip
    images = hf.SiglipImageProcessorPil(size={"height": side, "width": side})
    setattr(images, "image_seq_length", (side // 14) ** 2)  # noqa: B010 -- of this family's repositories only
    settings = {"processor_class": "PaliGemmaProcessor"}
    return save(folder, hf.PaliGemmaForConditionalGeneration(config), words, images, None, settings)


def save_internvl(folder: Path, scale: Scale = TINY) -> Path:
    """InternVL 3: tiles and a thumbnail, by OpenGVLab/InternVL3-1B-hf."""
    words = tokenizer(
        ["<|im_start|>"], True, eos_token="<|im_end|>", pad_token="<|endoftext|>", start_image_token="<img>",
        end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    side, patch, tokens = scale.pick((28, 7, 4), (448, 14, 256))
    vision = hf.InternVLVisionConfig(image_size=[side] * 2, patch_size=[patch] * 2, **scale.vision)
    config = hf.InternVLConfig(
        vision_config=vision, text_config=hf.Qwen2Config(**scale.text, **end_ids(words)), image_seq_length=tokens,
        downsample_ratio=0.5, **token_ids(words, image_token_id="<IMG_CONTEXT>"),
    )  # fmt: skip
    images = hf.GotOcr2ImageProcessorPil(
        size={"height": side, "width": side}, crop_to_patches=True, max_patches=scale.pick(4, 12)
    )
    settings = {"processor_class": "InternVLProcessor", "image_seq_length": tokens}
    return save(
        folder, hf.InternVLForConditionalGeneration(config), words, images, im_start("<IMG_CONTEXT>\n"), settings
    )


def save_llava_next(folder: Path, scale: Scale = TINY) -> Path:
    """LLaVA-NeXT, by llava-hf/llava-v1.6-mistral-7b-hf."""
    return llava_next.save_llava_next(folder, spread=0.15, sizes=llava_next.NARROW if scale.real else llava_next.TINY)


# A new family is one line here, and its file.
FAMILIES: dict[str, Callable[..., Path]] = {
    "llava": save_llava,
    "llava_next": save_llava_next,
    "llava_onevision": save_llava_onevision,
    "qwen2_5_vl": save_qwen2_5_vl,
    "qwen3_vl": save_qwen3_vl,
    "smolvlm": save_smolvlm,
    "idefics3": save_idefics3,
    "gemma3": save_gemma3,
    "paligemma": save_paligemma,
    "internvl": save_internvl,
}


def save_unlisted(folder: Path, scale: Scale = TINY) -> Path:
    """Aya Vision: SigLIP and Cohere 2, of which no file of ours knows, by CohereLabs/aya-vision-8b."""
    marks = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL"]
    words = tokenizer(
        [*marks, "<image>", "<|START|>"], True, bos_token="<BOS_TOKEN>", eos_token="<|END|>", pad_token="<PAD>"
    )  # fmt: skip
    vision = hf.SiglipVisionConfig(image_size=28, patch_size=7, vision_use_head=False, **scale.vision)
    text = scale.text | end_ids(words) | windows(scale)
    config = hf.AyaVisionConfig(
        vision_config=vision, text_config=hf.Cohere2Config(**text), downsample_factor=2,
        **token_ids(words, image_token_index="<|IMG_PATCH|>"),
    )  # fmt: skip
    template = (
        "{{ bos_token }}{% for message in messages %}<|START|>{{ message['role'] }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}<|END|>{% endfor %}"
        "{% if add_generation_prompt %}<|START|>assistant{% endif %}"
    )
    images = hf.GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, crop_to_patches=True, max_patches=4)
    settings = {"processor_class": "AyaVisionProcessor", "patch_size": 14, "img_size": 28, "downsample_factor": 1}
    return save(folder, hf.AyaVisionForConditionalGeneration(config), words, images, template, settings)
