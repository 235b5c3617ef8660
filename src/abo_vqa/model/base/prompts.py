"""The prompts, exactly as the paper prints them, and the chat turn they stand in."""

from collections.abc import Sequence
from typing import Any

OPEN_SUFFIX = "Answer with just one word."
# The paper prints this prompt twice, once ending in "one option." and once in "one word."; its code says "one option".
OPTIONS_SUFFIX = "Answer with just one option."


def question_text(question: str, options: Sequence[str] | None) -> str:
    """Return the text that follows `<image>` and a line break in the paper's prompts (section 2.4).

    With `options` the question is followed by them, in the given order; with None it stands alone.
    """
    if options is None:
        return f"{question}\n{OPEN_SUFFIX}"
    return f"{question}\nOptions: {', '.join(options)}\n{OPTIONS_SUFFIX}"


def user_turn(text: str) -> list[dict[str, Any]]:
    """Return one user message that shows the image and then says `text`, as chat templates take it."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def render_prompt(processor: Any, text: str) -> str:
    """Return the whole prompt up to where the model's answer begins, with one `<image>` placeholder."""
    return processor.apply_chat_template(user_turn(text), add_generation_prompt=True, tokenize=False)


def adds_begin_token(processor: Any, rendered: str) -> bool:
    """Say whether the tokenizer still has to add its begin token: some chat templates have put it in place."""
    begin = processor.tokenizer.bos_token
    return begin is not None and not rendered.startswith(begin)
