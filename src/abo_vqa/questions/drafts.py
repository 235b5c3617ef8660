"""Remove what a model wrote before its answer: drafts between thinking tags, and an echoed prompt."""

import re

_NAMES = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|scratchpad|analysis|draft|plan|monologue)"
# <think>, </Thinking >, <think effort="low">, <|begin_of_thought|>, <seed:think>, &lt;think&gt;, ◁/think▷, [/THINK],
# and [INST] around a prompt. Every repetition is bounded, so that the time is linear.
_TAG = re.compile(
    rf"(?:<|＜|&lt;)\s{{0,3}}\|?(?P<end1>/|end_of_)?\s{{0,3}}(?:begin_of_|inner_|[a-z]{{1,9}}:)?{_NAMES}"
    r"(?:\s[^<>＜＞]{0,99}?)?(?P<empty>/)?\|?(?:>|＞|&gt;)"
    r"|◁\s{0,3}(?P<end2>/)?\s{0,3}think(?:ing)?\s{0,3}▷"
    r"|\[\s{0,3}(?P<end3>/)?\s{0,3}(?:think(?:ing)?|inst)\s{0,3}\]",
    re.IGNORECASE,
)
# Channels of other chat templates, up to the final one or the end of the message; fences around a draft.
_CHANNEL = re.compile(
    r"<\|?channel\|?>\s*(?:analysis|commentary|thoughts?|thinking)\b.*?"
    r"(?:<\|?(?:end|return|call)\|?>|<channel\|>|(?=<\|?channel\|?>\s*final\b)|\Z)"
    rf"|```[ \t]*{_NAMES}\b.*?(?:```|\Z)",
    re.IGNORECASE | re.DOTALL,
)


def without_drafts(text: str) -> str:
    """Return the text outside all drafts.

    Drafts may be nested. One that is not closed goes on to the end. Before a closing tag without an opening one
    everything is a draft, since many chat templates write the opening tag into the prompt.
    """
    text = _CHANNEL.sub("\n", text)
    kept, depth, place = [""], 0, 0
    for tag in _TAG.finditer(text):
        if not depth:
            kept.append(text[place : tag.start()])
        place = tag.end()
        if tag["end1"] or tag["end2"] or tag["end3"]:
            if not depth:
                kept.clear()
            depth = max(depth - 1, 0)
        elif not tag["empty"]:
            depth += 1
    if not depth:
        kept.append(text[place:])
    return "\n".join(kept) if len(kept) > 2 else "".join(kept)
