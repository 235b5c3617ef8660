"""The chat turn with an image and a question."""

from typing import Any


def user_turn(text: str) -> list[dict[str, Any]]:
    """Return one user message, the image and then `text`, in the format of chat templates."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def render_prompt(processor: Any, text: str) -> str:
    """Return the rendered prompt up to the model's answer, with one image placeholder."""
    return processor.apply_chat_template(user_turn(text), add_generation_prompt=True, tokenize=False)


def adds_begin_token(processor: Any, rendered: str) -> bool:
    """Return whether the tokenizer must add its begin token; some chat templates contain it."""
    begin = processor.tokenizer.bos_token
    return begin is not None and not rendered.startswith(begin)
