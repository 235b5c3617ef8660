"""docs/parameters.md is what the types, params.yaml and dvc.yaml say, and says it of every parameter."""

import re
from pathlib import Path

import pytest

from abo_vqa.commands.parameter_page import PAGE, Parameter, comment, parameters, render
from abo_vqa.common.params import read_params
from abo_vqa.common.tracking.run import flatten_params


@pytest.fixture(scope="module")
def sources(root: Path) -> tuple[str, str]:
    return (root / "params.yaml").read_text(), (root / "dvc.yaml").read_text()


@pytest.fixture(scope="module")
def known(sources: tuple[str, str]) -> dict[str, Parameter]:
    return {one.name: one for one in parameters(*sources)}


def test_the_committed_page_is_the_one_that_is_made(root: Path, sources: tuple[str, str]) -> None:
    assert (root / PAGE).read_text(encoding="utf-8") == render(*sources), "run `abo-vqa params --write`"


def test_every_parameter_is_described_and_read_by_a_stage(known: dict[str, Parameter]) -> None:
    assert [name for name, one in known.items() if not one.text] == []
    assert [name for name, one in known.items() if not one.stages] == []
    # "nf4 | fp4" says what can be given, not what it is.
    assert [name for name, one in known.items() if one.text.split()[1:2] == ["|"]] in ([], ["generate.source"])


def test_every_value_of_params_yaml_has_its_row(root: Path, known: dict[str, Parameter]) -> None:
    """A value in a group of names, such as arms.standard.options_first, is told under NAME, one in a list under N."""
    for name, value in flatten_params(read_params(root / "params.yaml")).items():
        if name in known and not value.startswith("[{"):
            shown = known[name].demo
            assert shown == re.sub(r'[\[\]"]', "", value) or float(shown) == float(value), name
        elif name not in known:
            group, _, last = name.rpartition(".")
            assert known.keys() & {group, f"{group.rpartition('.')[0]}.NAME.{last}"}, name


def test_types_bounds_papers_values_and_readers_are_told(known: dict[str, Parameter]) -> None:
    rate = known["train.learning_rate"]
    assert (rate.type, rate.demo) == ("number, above 0", "0.003")
    assert rate.paper == "3e-5 (a 2M-parameter model needs a larger one)"
    assert rate.text == "peak, after warm-up"
    assert known["train.max_questions"].type == "integer, at least 1 or null"
    assert known["split.test"].type == "number, above 0, below 1"
    assert known["train.packing"].type == "`image` | `question` | `auto`"
    assert known["train.optimizer"].paper == "adamw_torch_fused in the listing, 8-bit AdamW in the text"
    assert known["train.max_grad_norm"].stages == ("train", "report")
    assert known["validate.options"].stages == ("validate", "split", "report")
    assert known["arms.NAME.options_first"].demo == "standard: 0; options: 1"
    assert known["evaluate.conditions.NAME.order"].demo == "circular: rotated"


def test_a_comment_above_beside_and_below_a_key_is_its_own() -> None:
    lines = ["a:", "  # over", "  b: 1   # beside", "         # | paper: 2", "  # of c", "  c: 3"]
    assert comment(lines, 2, 2) == ("over beside", "2")
    assert comment(lines, 5, 2) == ("of c", "")
