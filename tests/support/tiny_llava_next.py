"""A tiny LlavaNext with random weights, in the file layout and the classes of llava-hf/llava-v1.6-mistral-7b-hf."""

import json
from pathlib import Path

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

TILE, PATCH = 28, 14
# The published ones with 28 for 336.
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
VOCABULARY, PADDED = 700, 768  # the published head, too, is wider than its tokenizer
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


def save_tiny_llava_next(folder: Path, seed: int = 0, spread: float = 0.3) -> Path:
    """Save model and processor files; `spread` is the standard deviation of the random weights."""
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    model = LlavaNextForConditionalGeneration(_config(tokenizer))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # Small shards, so that there are several and an index, as published.
    model.save_pretrained(folder, max_shard_size="200KB")
    tokenizer.save_pretrained(folder)
    _image_processor().save_pretrained(folder)
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


def _image_processor() -> LlavaNextImageProcessorPil:
    square = {"height": TILE, "width": TILE}
    return LlavaNextImageProcessorPil(size={"shortest_edge": TILE}, crop_size=square, image_grid_pinpoints=PINPOINTS)


def _config(tokenizer: LlamaTokenizer) -> LlavaNextConfig:
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=TILE,
        patch_size=PATCH,
        projection_dim=32,
    )
    text = MistralConfig(
        vocab_size=PADDED,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        sliding_window=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
