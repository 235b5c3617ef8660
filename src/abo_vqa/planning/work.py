"""How much a run has to do: images, questions and tokens, counted in its tables or computed from the parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

from abo_vqa.common.params import Params

# Usable questions an image in LLaVA-v1.6-Mistral-7B's recorded outputs: 53,953 about 10,800 images, 97.7 % of them.
PER_IMAGE = 4.88
# Tokens of a question with the words around it, of its options, and of an answer with its end.
QUESTION, OPTIONS, ANSWER = 30, 15, 3


@dataclass(frozen=True)
class Work:
    """Images and questions of the training and of the test. measured: counted in tables, not computed."""

    images: int
    train_images: float
    train_questions: int
    test_images: float
    test_questions: int
    measured: bool

    @property
    def per_image(self) -> float:
        """Questions about an image, on the mean."""
        return self.train_questions / self.train_images


def work_of(params: Params, tables: Mapping[str, tuple[int, int]]) -> Work:
    """Return the work of these parameters.

    tables: images and questions of each split's table, for those that there are. They are taken if they have the
    parameters' products; otherwise the numbers are computed.
    """
    products = params.sample.products
    counted = sum(images for images, _ in tables.values())
    # Some products lose all their questions. Tables of another sample tell nothing about this one.
    if len(tables) == 3 and products * 0.8 <= counted <= products:
        (train_images, train), (test_images, test), measured = tables["train"], tables["test"], True
    else:
        test_images = round(products * params.split.test)
        train_images = products - test_images - round(products * params.split.validation)
        train, test, measured = round(train_images * PER_IMAGE), round(test_images * PER_IMAGE), False
    asked = min(train, params.train.max_questions or train)
    return Work(products, train_images * asked / train, asked, test_images, test, measured)


def prompts_per_question(params: Params) -> int:
    """Return how many prompts the evaluation asks of one model for each test question."""
    rotations = (params.validate_.options if one.order == "rotated" else 1 for one in params.conditions().values())
    return sum(rotations)


def tokens_per_question(params: Params) -> int:
    """Return how many tokens the evaluation of one model reads for each test question, its images not counted.

    What prompts about an image begin with in common, the question, is read once.
    """
    conditions = params.conditions().values()
    asked = {(one.image, one.question) for one in conditions}
    with_options = prompts_per_question(params) - sum(one.options == "none" for one in conditions)
    # The options are in the prompt, and each is scored behind it.
    return len(asked) * QUESTION + (prompts_per_question(params) + with_options) * OPTIONS
