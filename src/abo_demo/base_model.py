"""The demo's untrained base model: a small LLaVA-Gemma in the real one's classes and files."""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    GemmaConfig,
    GemmaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from abo_vqa.model.families.llava import Llava

IMAGE_SIZE = 112  # pixels; with 14-pixel patches an image has 64 tokens; the real model's 336 pixels make 576
PATCH_SIZE = 14
VOCABULARY = 1024
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<image>"]


def train_tokenizer(texts: Iterable[str]) -> GemmaTokenizer:
    """Train a Gemma tokenizer (BPE with byte fallback, `▁` for spaces) on generic phrasing.

    Ids 0, 1 and 2 are pad, end and begin, as in Gemma. Byte fallback encodes any text.
    """
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    # No merge may cross a word boundary; Gemma's tokenizer was trained so, although it does not split when encoding.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL + bytes_, min_frequency=2, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    vocabulary, merges = _vocabulary_and_merges(bpe)
    tokenizer = GemmaTokenizer(
        vocab=vocabulary,
        merges=merges,
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=1024,
    )
    turns = ["<start_of_turn>", "<end_of_turn>"]
    tokenizer.add_tokens([AddedToken(turn, special=True, normalized=False) for turn in turns])
    return tokenizer


def _vocabulary_and_merges(bpe: Tokenizer) -> tuple[dict[str, int], list[Any]]:
    state = json.loads(bpe.to_str())["model"]
    return state["vocab"], [tuple(pair) for pair in state["merges"]]


def build_processor(tokenizer: GemmaTokenizer) -> LlavaProcessor:
    """Build the processor: images to 112 x 112 pixels, `<image>` to 64 placeholder tokens."""
    # Resized without cropping: a crop could cut off items that a counting question is about.
    square = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False)
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=Llava.template,
    )


def build_model(tokenizer: GemmaTokenizer) -> LlavaForConditionalGeneration:
    """Build the untrained model, about 1.9M parameters; the caller seeds torch."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = GemmaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=1024,
        hidden_act="gelu_pytorch_tanh",
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=SPECIAL.index("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE) ** 2,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = 1
    model.generation_config.pad_token_id = 0
    model.generation_config.bos_token_id = 2
    return model
