"""A LlavaNext with random weights, in the file layout and the classes of llava-hf/llava-v1.6-mistral-7b-hf."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaTokenizer,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    MistralConfig,
)

PATCH, VOCABULARY = 14, 700


@dataclass(frozen=True)
class Sizes:
    """The geometry: an image's tile, the embedding's rows, more than the tokenizer has, and both towers' settings."""

    tile: int
    rows: int
    vision: dict[str, Any]
    text: dict[str, Any]

    def pinpoints(self) -> list[list[int]]:
        """Return the published aspect ratios, in tiles of this size."""
        return [[self.tile * high, self.tile * wide] for high, wide in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]


TINY = Sizes(
    28, 768,
    {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2},
    {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096,
    },
)  # fmt: skip
NARROW = Sizes(
    336, 768,
    {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4},
    {
        "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 16384,
    },
)  # fmt: skip
PUBLISHED = Sizes(
    336, 32064,
    {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "max_position_embeddings": 32768, "rope_theta": 1e6,
    },
)  # fmt: skip
IMAGE, PAD = "<image>", "<pad>"
TEMPLATE = (
    "{% for message in messages %}[INST] "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    " [/INST]{% endfor %}"
)
PHRASES = [
    '{"questions": [{"type": "existential", "question": "Is there a shoe?", "answer": "yes", "distractors": ["no"',
    "What color is the table? red blue green wood metal round square more fewer left right",
    "How many handles can be seen on the red mug, three or four?",
]


def save_llava_next(folder: Path, seed: int = 0, spread: float = 0.3, sizes: Sizes = TINY) -> Path:
    """Save model and processor files; `spread` is the standard deviation of the random weights.

    The published sizes are made on the GPU, in bfloat16.
    """
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    whole = sizes is PUBLISHED
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if whole else torch.float32)
    with torch.device("cuda" if whole else "cpu"):
        model = LlavaNextForConditionalGeneration(_config(tokenizer, sizes))
    torch.set_default_dtype(usual)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # Small shards, so that there are several and an index, as published.
    model.save_pretrained(folder, max_shard_size="5GB" if whole else "200KB")
    tokenizer.save_pretrained(folder)
    _image_processor(sizes).save_pretrained(folder)
    processor = {
        "image_token": IMAGE,
        "num_additional_image_tokens": 1,
        "patch_size": PATCH,
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "default",
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def _tokenizer() -> LlamaTokenizer:
    """Train a Llama tokenizer: BPE with byte fallback, `▁` for a space, begin, end and unknown as ids 1, 2 and 0."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    # Every printable character is a token by itself, too.
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=[chr(code) for code in range(33, 127)],
        show_progress=False,
    )
    bpe.train_from_iterator(PHRASES * 3, trainer)
    state = json.loads(bpe.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = LlamaTokenizer(vocab=state["vocab"], merges=merges, add_bos_token=True)
    tokenizer.add_special_tokens({"pad_token": PAD, "additional_special_tokens": [IMAGE]})
    return tokenizer


def _image_processor(sizes: Sizes) -> LlavaNextImageProcessorPil:
    square = {"height": sizes.tile, "width": sizes.tile}
    return LlavaNextImageProcessorPil(
        size={"shortest_edge": sizes.tile}, crop_size=square, image_grid_pinpoints=sizes.pinpoints()
    )


def _config(tokenizer: LlamaTokenizer, sizes: Sizes) -> LlavaNextConfig:
    vision = CLIPVisionConfig(image_size=sizes.tile, patch_size=PATCH, projection_dim=32, **sizes.vision)
    text = MistralConfig(
        vocab_size=sizes.rows,
        sliding_window=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes.text,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.get_vocab()[IMAGE],
        image_grid_pinpoints=sizes.pinpoints(),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
