"""The chat turn that shows an image and asks about it."""

from typing import Any


def user_turn(text: str) -> list[dict[str, Any]]:
    """Return one user message with the image and then `text`, as chat templates take it."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def render_prompt(processor: Any, text: str) -> str:
    """Return the whole prompt up to the model's answer, with one image placeholder."""
    return processor.apply_chat_template(user_turn(text), add_generation_prompt=True, tokenize=False)


def adds_begin_token(processor: Any, rendered: str) -> bool:
    """Return whether the tokenizer has to add its begin token; some chat templates contain it."""
    begin = processor.tokenizer.bos_token
    return begin is not None and not rendered.startswith(begin)
