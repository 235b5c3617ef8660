"""params.yaml and its scales: what is accepted, what is refused, and what the paper's scale builds."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from transformers import AutoConfig

from abo_vqa.commands.preset import apply_overrides
from abo_vqa.common.params import Params, check_params, read_params
from abo_vqa.common.params.group import ParamsError
from abo_vqa.common.params.measure import counterparts
from abo_vqa.model.base.loading import bitsandbytes_config
from abo_vqa.model.base.parts import empty_model
from abo_vqa.training.settings import autocast, lora_config, trainer_arguments
from parameters import changed
from paths import ROOT

safe = YAML(typ="safe", pure=True)


@pytest.fixture
def values(root: Path) -> dict[str, Any]:
    return safe.load(root / "params.yaml")


def test_the_committed_parameters_are_valid(root: Path) -> None:
    assert read_params(root / "params.yaml").sample.products > 0


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train.lora.rank", 8, "train.lora.rank: unknown parameter"),
        ("train.lora.r", "eight", "train.lora.r: Input should be a valid integer"),
        ("train.processes", 0, "train.processes: Input should be greater than or equal to 1 (given: 0)"),
        ("train.processes", "all", "train.processes: Input should be 'auto' (given: 'all')"),
        ("train.lora.r", 0, "train.lora.r: Input should be greater than or equal to 1 (given: 0)"),
        ("train.learning_rate", "fast", "train.learning_rate: Input should be a valid number"),
        ("train.epochs", True, "train.epochs: Input should be a valid number"),
        ("train.mixed_precision", "int8", "train.mixed_precision"),
        ("train.attention", "flash_attention_2", "does not support the mask that packing: image needs"),
        ("sample.shares.top_types", 0.5, "must be 1, not 1.2"),
        ("split.test", 0.95, "validation + test must be below 1"),
        ("generate.source", "recorded", "source: recorded needs generate.recorded"),
        ("evaluate.conditions.options.count", 9, "evaluate.conditions.options.count"),
        ("evaluate.conditions.matched.count", 3, "not allowed with matched options"),
        ("evaluate.conditions.open.question", "none", "leaves nothing to answer without options"),
        ("evaluate.conditions", {"open/blank": {}}, "a name consists of a-z, 0-9, _ and -"),
        ("evaluate.counterparts", ["shown"], "evaluate.counterparts: shown is the image of the condition itself"),
        ("evaluate.counterparts", ["blank", "blank"], "evaluate.counterparts: blank is listed twice"),
        (
            "compare.planned",
            [{"first": "options", "second": "rival", "conditions": ["open"]}],
            "unknown model rival; known:",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], key: str, value: Any, says: str) -> None:
    with pytest.raises(ParamsError) as error:
        check_params(changed(values, key, value))
    assert says in str(error.value)


def test_every_condition_that_shows_the_image_has_its_counterparts(values: dict[str, Any]) -> None:
    shown = {"few": {"count": 2}, "alone": {"counterparts": False}, "blind": {"image": "blank"}}
    values["evaluate"]["conditions"] = shown
    for planned in values["compare"]["planned"]:
        planned["conditions"] = ["few", "blind"]
    values["registry"]["champion_under"] = ["few"]
    params = check_params(values)
    conditions = params.conditions()
    assert list(conditions) == [*shown, "few/blank", "few/other"]
    assert conditions["few/other"] == conditions["few"].model_copy(update={"image": "other"})
    assert counterparts("few", conditions) == {"blank": "few/blank", "other": "few/other"}
    assert counterparts("blind", conditions) == counterparts("alone", conditions) == {}
    without = check_params(changed(values, "evaluate.counterparts", []))
    assert without.conditions() == without.evaluate.conditions


def test_no_parameter_is_named_as_what_dvc_leaves_out_of_its_run_cache(values: dict[str, Any]) -> None:
    """DVC 3.67 drops keys called size or nfiles at any depth: the run cache would answer for any value of them."""

    def names(group: dict[str, Any]) -> set[str]:
        nested = (names(value) for value in group.values() if isinstance(value, dict))
        return set(group).union(*nested)

    assert not names(values) & {"size", "nfiles"}


def test_a_missing_key_is_named(values: dict[str, Any]) -> None:
    del values["train"]["lora"]["alpha"]
    with pytest.raises(ParamsError, match=r"train\.lora\.alpha: missing"):
        check_params(values)


def test_all_problems_are_listed_at_once(values: dict[str, Any]) -> None:
    values["train"]["epochs"] = -1
    values["sample"]["products"] = 0
    with pytest.raises(ParamsError) as error:
        check_params(values)
    assert len(str(error.value).splitlines()) == 2


def test_parameters_cannot_be_changed_afterwards(root: Path) -> None:
    params = read_params(root / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.train.lora.r = 8  # type: ignore[misc]


@given(st.floats(min_value=1e-12, max_value=1e3))
def test_a_learning_rate_survives_the_way_dvc_writes_it(rate: float) -> None:
    text = (ROOT / "params.yaml").read_text()
    # DVC writes the number as Python prints it, 1e-05 for 1e-5, which YAML 1.1 reads as text.
    written = text.replace("learning_rate: 3.0e-3", f"learning_rate: {rate!r}")
    assert check_params(safe.load(written)).train.learning_rate == rate


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"nowhere\.yaml: not found"):
        read_params(tmp_path / "nowhere.yaml")
    (tmp_path / "params.yaml").write_text("seed: [1")
    with pytest.raises(ParamsError, match="not valid YAML"):
        read_params(tmp_path / "params.yaml")


@pytest.fixture
def paper(root: Path) -> Params:
    overrides = safe.load(root / "presets/paper.yaml")
    text, _ = apply_overrides((root / "params.yaml").read_text(), overrides)
    return check_params(safe.load(text))


def test_scales_keep_every_comment(root: Path) -> None:
    before = (root / "params.yaml").read_text()
    for scale in sorted((root / "presets").glob("*.yaml")):
        after, changes = apply_overrides(before, safe.load(scale))
        assert changes
        # Lines that a scale adds, as the rows of a list, come without a comment.
        lines = [[line.partition("#")[2] for line in text.splitlines()] for text in (before, after)]
        kept, there = ([comment for comment in comments if comment] for comments in lines)
        assert kept == there


def test_an_unknown_key_in_a_scale_is_refused(root: Path) -> None:
    with pytest.raises(ParamsError, match=r"train\.optimiser: unknown"):
        apply_overrides((root / "params.yaml").read_text(), {"train": {"optimiser": "sgd"}})


def test_the_paper_scale_samples_as_the_paper(paper: Params) -> None:
    sample = paper.sample
    assert (sample.products, sample.reference_size, sample.strata) == (12000, 12000, 1000)
    assert (sample.amazonbasics_cap, sample.shoes_cap) == (1200, 700)
    assert (sample.top_types, sample.rare_outside) == (40, 50)
    assert (sample.shares.stratified, sample.shares.top_types, sample.shares.rare_types) == (0.6, 0.3, 0.1)
    assert (paper.validate_.options, paper.validate_.counting_max) == (4, 10)


def test_the_paper_scale_quantizes_as_listing_2(root: Path, paper: Params) -> None:
    demo = AutoConfig.from_pretrained(root / "models/demo")
    config = bitsandbytes_config(paper.model.quantization, demo)
    assert json.loads((root / paper.model.base).read_text())["id"] == "Intel/llava-gemma-2b"
    assert config.load_in_4bit and config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_quant_type == "nf4"
    # The paper's cards have no bfloat16.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
        config = bitsandbytes_config(paper.model.quantization, demo)
        assert autocast(paper.train, config.bnb_4bit_compute_dtype) == "fp16"
    assert config.bnb_4bit_compute_dtype == torch.float16


def test_the_paper_scale_adapts_as_listing_3(root: Path, paper: Params) -> None:
    demo = AutoConfig.from_pretrained(root / "models/demo")
    config = lora_config(paper.train.lora, empty_model(demo, torch.float32))
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (16, 32, 0.075, "none")
    assert config.target_modules == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }
    assert config.exclude_modules is None
    assert config.task_type == "CAUSAL_LM"


def test_the_paper_scale_trains_as_listings_4_to_6(paper: Params, tmp_path: Path) -> None:
    # Float16 needs a card; everything else is built as the paper's run would build it.
    arguments = trainer_arguments(paper.train, torch.float32, paper.seed, tmp_path, validated=False)
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (3, 6)
    assert arguments.learning_rate == 3e-5
    assert arguments.lr_scheduler_type == "cosine"
    assert arguments.warmup_steps == 0.1
    assert arguments.weight_decay == 1e-6
    assert arguments.max_grad_norm == 0.3
    assert arguments.optim == "adamw_torch_fused"
    assert not arguments.activation_checkpointing
    assert (arguments.save_steps, arguments.logging_steps) == (500, 10)
    assert paper.train.epochs == 2


def test_a_limit_on_what_is_not_audited_is_refused(values: dict[str, Any]) -> None:
    limited = changed(values, "compare.max_blind", {"open": 0.4})
    assert check_params(limited).compare.max_blind == {"open": 0.4}
    with pytest.raises(ParamsError, match=r"compare\.max_blind: circular: the audit scores open, options and matched"):
        check_params(changed(values, "compare.max_blind", {"circular": 0.4}))
