"""Tokenizers, chat templates and files of models in the layout of published repositories."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

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


def token_ids(words: Any, **tokens: str) -> dict[str, Any]:
    """Return the ids of tokens, by the names of the settings that want them."""
    return {name: words.convert_tokens_to_ids(token) for name, token in tokens.items()}


def end_ids(words: Any) -> dict[str, Any]:
    """Return the settings of a language model that follow from its tokenizer."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {"vocab_size": len(words) + 8} | {name: getattr(words, name) for name in names}
