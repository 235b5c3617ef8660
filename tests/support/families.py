"""Tiny models with random weights of each family, in the classes and the layout of the published repositories."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
}  # fmt: skip
PHRASES = [
    "What color is the table? Answer with just one word. Options: red, blue, green, wood. one option",
    "user assistant model How many handles can be seen on the red mug, three or four? yes no Is there a lid?",
]


def tokenizer(special: Sequence[str], bytes_: bool, **named: Any) -> Any:
    """Return a trained tokenizer; bytes_: of bytes, as Qwen's, else of characters behind `▁`, as Gemma's."""
    bpe = Tokenizer(models.BPE(unk_token=None if bytes_ else "<unk>", byte_fallback=not bytes_))
    if bytes_:
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet, first = pre_tokenizers.ByteLevel.alphabet(), []
    else:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet, first = [chr(code) for code in range(33, 127)], [f"<0x{value:02X}>" for value in range(256)]
        first += ["\n\n", "\n\n\n"]  # as Gemma's
    names = [*named.values(), *special]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", *names, *first], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(PHRASES * 3, trainer)
    usual = ("bos_token", "eos_token", "pad_token")
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        extra_special_tokens={name: token for name, token in named.items() if name not in usual},
        additional_special_tokens=list(special) or None,
        **{name: token for name, token in named.items() if name in usual},
    )


def im_start(image: str) -> str:
    """Return a template of turns between <|im_start|> and <|im_end|>, as Qwen's; image: what stands for one."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
        "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        + image
        + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


GEMMA_TURNS = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' "
    "else message['role']) + '\n' }}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<start_of_image>' }}{% else %}"
    "{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SMOL_TURNS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}{% if message['content'] is not string "
    "and message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def save(folder: Path, model: Any, words: Any, images: Any, template: str | None, processor: dict[str, Any]) -> Path:
    """Save a model as its repository has it, with random weights large enough to tell tokens apart."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15 if "embed_tokens" not in name else 0.5)
    model.generation_config.eos_token_id = words.eos_token_id
    for part in (model, words, images):
        part.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(processor))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def _ids(words: Any, **tokens: str) -> dict[str, int]:
    return {name: words.convert_tokens_to_ids(token) for name, token in tokens.items()}


def _ends(words: Any) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {"vocab_size": len(words) + 8} | {name: getattr(words, name) for name in names}


def save_llava(folder: Path) -> Path:
    """LLaVA 1.5: CLIP and Llama, by llava-hf/llava-1.5-7b-hf."""
    words = tokenizer([], False, bos_token="<s>", eos_token="</s>", pad_token="<pad>", image_token="<image>")
    vision = hf.CLIPVisionConfig(image_size=28, patch_size=14, projection_dim=32, **VISION)
    config = hf.LlavaConfig(
        vision_config=vision, text_config=hf.LlamaConfig(**TEXT, **_ends(words)), vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_token_index=_ids(words, i="<image>")["i"],
    )  # fmt: skip
    template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
        "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %} ASSISTANT:{% else %} "
        "{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    images = hf.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    settings = {"processor_class": "LlavaProcessor", "patch_size": 14, "num_additional_image_tokens": 1,
                "vision_feature_select_strategy": "default", "image_token": "<image>"}  # fmt: skip
    return save(folder, hf.LlavaForConditionalGeneration(config), words, images, template, settings)


def save_llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision: SigLIP and Qwen 2, tiles of any shape, by llava-hf/llava-onevision-qwen2-0.5b-ov-hf."""
    words = tokenizer(
        ["<|im_start|>"], True, eos_token="<|im_end|>", pad_token="<|endoftext|>", image_token="<image>",
        video_token="<video>",
    )  # fmt: skip
    pinpoints = [[28 * high, 28 * wide] for high in (1, 2, 3) for wide in (1, 2, 3)]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(image_size=28, patch_size=14, vision_use_head=False, **VISION),
        text_config=hf.Qwen2Config(**TEXT, **_ends(words)), vision_feature_layer=-1,
        vision_feature_select_strategy="full", image_grid_pinpoints=pinpoints, vision_aspect_ratio="anyres_max_9",
        **_ids(words, image_token_index="<image>", video_token_index="<video>"),
    )  # fmt: skip
    images = hf.LlavaOnevisionImageProcessorPil(size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints)
    settings = {"processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 4,
                "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9"}  # fmt: skip
    model = hf.LlavaOnevisionForConditionalGeneration(config)
    return save(folder, model, words, images, im_start("<image>\n"), settings)


QWEN = ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_IDS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}  # fmt: skip
QWEN_TURNS = im_start("<|vision_start|><|image_pad|><|vision_end|>")


def save_qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: positions of three axes, windows in its vision tower, by Qwen/Qwen2.5-VL-3B-Instruct."""
    words = tokenizer(QWEN, True, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
              "patch_size": 14, "spatial_merge_size": 2, "window_size": 56, "fullatt_block_indexes": [2]}  # fmt: skip
    text = TEXT | _ends(words) | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        "tie_word_embeddings": True,
    }  # fmt: skip
    config = hf.Qwen2_5_VLConfig(vision_config=vision, text_config=text, **_ids(words, **QWEN_IDS))
    images = hf.Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 12})
    model = hf.Qwen2_5_VLForConditionalGeneration(config)
    return save(folder, model, words, images, QWEN_TURNS, {"processor_class": "Qwen2_5_VLProcessor"})


def save_qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: features of inner layers, too, by Qwen/Qwen3-VL-2B-Instruct."""
    words = tokenizer(QWEN, True, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
              "patch_size": 16, "spatial_merge_size": 2, "deepstack_visual_indexes": [0, 1],
              "num_position_embeddings": 16}  # fmt: skip
    text = TEXT | _ends(words) | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [2, 3, 3],
                            "mrope_interleaved": True},
        "tie_word_embeddings": True,
    }  # fmt: skip
    config = hf.Qwen3VLConfig(vision_config=vision, text_config=text, **_ids(words, **QWEN_IDS))
    images = hf.Qwen2VLImageProcessorPil(
        patch_size=16, size={"shortest_edge": 32 * 32 * 4, "longest_edge": 32 * 32 * 12},
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    model = hf.Qwen3VLForConditionalGeneration(config)
    return save(folder, model, words, images, QWEN_TURNS, {"processor_class": "Qwen3VLProcessor"})


def _idefics(folder: Path, name: str, config_class: Any, model_class: Any, images: Any) -> Path:
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    words = tokenizer(
        ["<fake_token_around_image>", "<global-img>", *rows], True, bos_token="<|im_start|>",
        eos_token="<end_of_utterance>", pad_token="<|endoftext|>", image_token="<image>",
    )  # fmt: skip
    vision = VISION | {"image_size": 32, "patch_size": 8}
    config = config_class(
        vision_config=vision, text_config=hf.LlamaConfig(**TEXT, **_ends(words)), scale_factor=2,
        pad_token_id=words.pad_token_id, **_ids(words, image_token_id="<image>"),
    )  # fmt: skip
    settings = {"processor_class": f"{name}Processor", "image_seq_len": 4}
    return save(folder, model_class(config), words, images, SMOL_TURNS, settings)


def save_smolvlm(folder: Path) -> Path:
    """SmolVLM: an image in tiles with tokens between them, by HuggingFaceTB/SmolVLM2-500M-Video-Instruct."""
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    images = hf.SmolVLMImageProcessorPil(do_image_splitting=True, **sizes)
    return _idefics(folder, "SmolVLM", hf.SmolVLMConfig, hf.SmolVLMForConditionalGeneration, images)


def save_idefics3(folder: Path) -> Path:
    """Idefics 3, by HuggingFaceM4/Idefics3-8B-Llama3."""
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    images = hf.Idefics3ImageProcessorPil(do_image_splitting=True, **sizes)
    return _idefics(folder, "Idefics3", hf.Idefics3Config, hf.Idefics3ForConditionalGeneration, images)


def save_gemma3(folder: Path) -> Path:
    """Gemma 3: an image's tokens see each other, most layers a window, by google/gemma-3-4b-it."""
    words = tokenizer(
        ["<start_of_turn>", "<end_of_turn>"], False, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>",
    )  # fmt: skip
    vision = hf.SiglipVisionConfig(image_size=56, patch_size=14, vision_use_head=False, **VISION)
    text = TEXT | _ends(words) | {"sliding_window": 24, "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
                                  "query_pre_attn_scalar": 16}  # fmt: skip
    config = hf.Gemma3Config(
        vision_config=vision, text_config=hf.Gemma3TextConfig(**text), mm_tokens_per_image=4,
        **_ids(words, boi_token_index="<start_of_image>", eoi_token_index="<end_of_image>",
               image_token_index="<image_soft_token>"),
    )  # fmt: skip
    images = hf.Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
    settings = {"processor_class": "Gemma3Processor", "image_seq_length": 4}
    return save(folder, hf.Gemma3ForConditionalGeneration(config), words, images, GEMMA_TURNS, settings)


def save_paligemma(folder: Path) -> Path:
    """PaliGemma 2: image and question see each other, no chat template, by google/paligemma2-3b-pt-224."""
    words = tokenizer([], False, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", image_token="<image>")
    vision = hf.SiglipVisionConfig(image_size=28, patch_size=14, vision_use_head=False, projection_dim=64, **VISION)
    text = hf.Gemma2Config(**TEXT, **_ends(words), query_pre_attn_scalar=16, sliding_window=4096)
    config = hf.PaliGemmaConfig(
        vision_config=vision, text_config=text, projection_dim=64, hidden_size=64,
        **_ids(words, image_token_index="<image>"),
    )  # fmt: skip
    images = hf.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    settings = {"processor_class": "PaliGemmaProcessor"}
    return save(folder, hf.PaliGemmaForConditionalGeneration(config), words, images, None, settings)


def save_internvl(folder: Path) -> Path:
    """InternVL 3: tiles and a thumbnail, by OpenGVLab/InternVL3-1B-hf."""
    words = tokenizer(
        ["<|im_start|>"], True, eos_token="<|im_end|>", pad_token="<|endoftext|>", start_image_token="<img>",
        end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    vision = hf.InternVLVisionConfig(image_size=[28, 28], patch_size=[7, 7], **VISION)
    config = hf.InternVLConfig(
        vision_config=vision, text_config=hf.Qwen2Config(**TEXT, **_ends(words)), image_seq_length=4,
        downsample_ratio=0.5, **_ids(words, image_token_id="<IMG_CONTEXT>"),
    )  # fmt: skip
    images = hf.GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, crop_to_patches=True, max_patches=4)
    settings = {"processor_class": "InternVLProcessor", "image_seq_length": 4}
    return save(
        folder, hf.InternVLForConditionalGeneration(config), words, images, im_start("<IMG_CONTEXT>\n"), settings
    )


def save_llava_next(folder: Path) -> Path:
    """LLaVA-NeXT, by llava-hf/llava-v1.6-mistral-7b-hf."""
    from abo_demo.llava_next import save_llava_next as save_tiny

    return save_tiny(folder, spread=0.15)


# A new family is one line here, and its file.
FAMILIES: dict[str, Callable[[Path], Path]] = {
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
