"""The chat turn with an image and a question."""

from typing import Any

from jinja2 import TemplateError

from abo_vqa.common.errors import InputError


def user_turn(text: str) -> list[dict[str, Any]]:
    """Return one user message, the image and then `text`, in the format of chat templates."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def render_prompt(processor: Any, text: str) -> str:
    """Return the rendered prompt up to the model's answer, with one image placeholder."""
    return _render(processor, _turn(processor, text), add_generation_prompt=True)


def check_template(processor: Any, base: str) -> None:
    """Raise InputError unless a prompt has one place for the image, and its question whole."""
    question = "Which color does it have?"
    try:
        rendered = render_prompt(processor, question)
    except (TemplateError, TypeError, ValueError) as error:
        raise InputError(f"model.base: the chat template of {base} cannot be used: {error}") from error
    if rendered.count(processor.image_token) != 1 or question not in rendered:
        raise InputError(f"model.base: the chat template of {base} gives no prompt with one image: {rendered!r}")


def turn_end(processor: Any) -> int | None:
    """Return the special token with which the chat template ends an answer; None if it ends it with none."""
    answer = "\u2603"  # in no template
    turns = [*_turn(processor, "?"), {"role": "assistant", "content": answer}]
    try:
        behind = _render(processor, turns).partition(answer)[2]
    except (TemplateError, TypeError):  # it has no turns of the assistant
        return None
    tokens = processor.tokenizer.encode(behind.lstrip(), add_special_tokens=False)
    return tokens[0] if tokens and tokens[0] in processor.tokenizer.all_special_ids else None


def _turn(processor: Any, text: str) -> list[dict[str, Any]]:
    """Return the user's turn as the chat template takes it: in parts, or one text with the image's token in it."""
    parts = user_turn(text)
    try:
        if processor.image_token in _render(processor, parts):
            return parts
    except (TemplateError, TypeError):
        pass
    # A language model's template, as LLaVA-Gemma's tokenizer has it.
    return [{"role": "user", "content": f"{processor.image_token}\n{text}"}]


def _render(processor: Any, turns: list[dict[str, Any]], **settings: Any) -> str:
    return processor.apply_chat_template(turns, tokenize=False, **settings)


def adds_begin_token(processor: Any, rendered: str) -> bool:
    """Return whether the tokenizer must add its begin token; some chat templates contain it."""
    begin = processor.tokenizer.bos_token
    return begin is not None and not rendered.startswith(begin)
