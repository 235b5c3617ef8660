"""What a model is shown under a condition, in words."""

from abo_vqa.common.params.measure import SHOWN, ConditionParams
from abo_vqa.comparison.words import IMAGES

_QUESTION = {"shown": "the question", "reworded": "the question in other words"}
_OPTIONS = {
    "none": "without options",
    "given": "with its options",
    "matched": "with options that the text does not tell apart",
    "near": "with options that answer questions of the same type",
    "far": "with options that answer questions of other types",
}
_ORDER = {"given": "", "rotated": ", in every order; right only if right in all"}


def explain(shown: ConditionParams) -> str:
    """Return what a condition shows, such as "the question with its options"; a kind of a plug-in by its name."""
    if shown.question == "none":
        return _finish("the options alone, without the question", shown)
    question = _QUESTION.get(shown.question, f"the question as `{shown.question}`")
    options = _OPTIONS.get(shown.options, f"with options as `{shown.options}`")
    return _finish(f"{question} {options}", shown)


def _finish(text: str, shown: ConditionParams) -> str:
    count = "" if shown.count is None else f", {shown.count} of them"
    order = _ORDER.get(shown.order, f", in the order `{shown.order}`")
    image = "" if shown.image == SHOWN else f", with {IMAGES.get(shown.image, f'the image `{shown.image}`')}"
    return f"{text}{count}{order}{image}"
