"""A model for which a tree of prompts is exact passes the self-check, one for which it is not is refused by name."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ModelParams
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.inference.prompt_tree.self_check import check_tree
from abo_vqa.inference.prompt_tree.tree import Tree
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.self_check import TOLERANCE, check_agreement
from abo_vqa.model.shared_image import ImageCollator

OPTIONS = ("red", "blue", "a dark blue one")
PROMPTS = {
    "image-0": [
        Prompt("What color is it?\nAnswer with just one word.", OPTIONS),
        Prompt("What color is it?\nOptions: red, blue\nAnswer with just one option.", OPTIONS[:2]),
        Prompt("Is there anything?", ()),
    ]
}


def scorer_of(params: ModelParams, images: dict[str, bytes]) -> Scorer:
    return Scorer(load_base(params), ImageCollator(load_processor(params), images, None, 8192), 6, 4096)


@pytest.mark.parametrize("base", ["llava", "llava-next", "demo"])
def test_an_exact_family_passes(
    tiny_params: Params, images: dict[str, bytes], request: pytest.FixtureRequest, base: str, root: Any
) -> None:
    model = tiny_params.model
    if base != "llava":
        folder = root / "models/demo" if base == "demo" else request.getfixturevalue("tiny_next")
        model = model.model_copy(update={"base": str(folder)})
    check_tree(scorer_of(model, images), PROMPTS)


def test_a_difference_that_is_no_number_is_one(tiny_params: Params) -> None:
    with pytest.raises(InputError, match="differs by nan"):
        check_agreement(load_base(tiny_params.model), [math.nan], [-1.0])


@pytest.mark.parametrize("planted", ["mask", "positions", "image"])
def test_a_model_that_sees_or_places_other_tokens_is_refused(
    make_params: Any, root: Any, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    params = make_params({"model": {"base": str(root / "models/demo")}})
    scorer = scorer_of(params.model, images)
    if planted == "mask":  # every prompt sees those before it
        seen = Tree._seen
        monkeypatch.setattr(Tree, "_seen", lambda tree, nodes: _causal(seen(tree, nodes)))
    if planted == "positions":  # of a family whose positions do not simply count on
        forward = Tree._forward

        def moved(tree: Tree, ids: torch.Tensor, positions: torch.Tensor, *rest: Any) -> torch.Tensor:
            return forward(tree, ids, positions // 2, *rest)

        monkeypatch.setattr(Tree, "_forward", moved)
    if planted == "image":  # of a family whose image attends to itself in both directions
        seen_by = Tree._seen

        def whole(tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
            mask = seen_by(tree, nodes)
            return torch.ones_like(mask) if nodes[0] == 0 else mask

        monkeypatch.setattr(Tree, "_seen", whole)
    with pytest.raises(InputError, match=r"^it is not exact: .* differs by .* more than 0.001 in float32"):
        check_tree(scorer, PROMPTS)


def _causal(mask: torch.Tensor) -> torch.Tensor:
    new, all_ = mask.shape[-2:]
    return torch.ones_like(mask).tril(all_ - new)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_each_number_format_has_its_tolerance(tiny_params: Params, dtype: torch.dtype) -> None:
    quantization = {"load_in_4bit": False, "compute_dtype": str(dtype).removeprefix("torch.")}
    params = tiny_params.model
    model = load_base(params.model_copy(update={"quantization": params.quantization.model_copy(update=quantization)}))
    allowed = TOLERANCE[dtype]
    check_agreement(model, [-1.0], [-1.0 - 0.9 * allowed])
    with pytest.raises(InputError, match=f"more than {allowed:g} in {quantization['compute_dtype']}"):
        check_agreement(model, [-1.0, -2.0], [-1.0, -2.0 + 1.1 * allowed])
