"""The vocabulary that stages share: question types, splits, and what a generator returns."""

from dataclasses import dataclass

YES_NO, COLOR, MATERIAL, SHAPE = "yes/no", "color", "material", "shape"
COUNTING, COMPARISON, ATTRIBUTE = "counting", "comparison", "attribute"
QUESTION_TYPES = (YES_NO, COLOR, MATERIAL, SHAPE, COUNTING, COMPARISON, ATTRIBUTE)
EXISTENTIAL = "existential"
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# What the paper asks about every image (section 3.1): so many questions of each kind.
COMPOSITION = {EXISTENTIAL: 1, ATTRIBUTE: 2, COUNTING: 1, COMPARISON: 1}


# What the audit scores text-only baselines under, as reports/audit.json names it, and its rows that are no baselines:
# what guessing gives, and what is attainable.
OPTIONS, MATCHED, OPEN = "options", "matched", "open"
CROSS_FITTED = "cross_fitted"
REFERENCES = CHANCE, CEILING = "chance", "ceiling"


@dataclass(frozen=True)
class RawOutput:
    """What a generator said about one image: a text that should hold questions (paper, section 3.1).

    seed: what its random draws came from; None where the output was recorded elsewhere. model: id or folder of the
    model that said it, prompt: digest of what it was asked; None where no model was, or nobody wrote it down.
    """

    product_id: str
    image_path: str
    generator: str
    seed: int | None
    output: str
    model: str | None = None
    prompt: str | None = None
