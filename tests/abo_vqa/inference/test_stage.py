"""The stage evaluate resumes by image, from a journal that is named after all that the answers depend on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from abo_vqa.common.layout import adapter_folder, answers_table, journal_folder
from abo_vqa.common.params import Params, check_params, read_params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.tracking.run import find_run
from abo_vqa.inference import stage
from abo_vqa.inference.conditions import Asked, Distractors, ask_under
from abo_vqa.inference.prompt_tree import choose
from abo_vqa.inference.prompt_tree.scorer import Scorer
from parameters import changed
from paths import ROOT

Images = dict[str, bytes]


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: bytes, images: Images, rows: list[dict[str, Any]]
) -> Path:
    """A project after its stage split: eight drawn images, two questions about each, the demo's base."""
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = str(ROOT / "models/demo")
    YAML().dump(values, tmp_path / "params.yaml")
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    (tmp_path / "tables/splits").mkdir(parents=True)
    questions = pd.DataFrame([row | {"question_type": "color", "matched_options": row["options"]} for row in rows])
    for name in ("train", "test"):
        questions.to_parquet(tmp_path / f"tables/splits/{name}.parquet")
    sample = [{"image_id": name, "image": {"bytes": data, "path": None}} for name, data in images.items()]
    pd.DataFrame(sample).to_parquet(tmp_path / "tables/sample.parquet")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_killed_evaluation_goes_on_and_ends_with_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params, path = read_params(), answers_table("base")
    asked: list[str] = []
    ask = Scorer.ask_together

    def until(last: int | None) -> Callable[..., Any]:
        def counted(self: Scorer, prompts: Any) -> Any:
            if len(asked) == last:
                raise KeyboardInterrupt
            asked.extend(prompts)
            return ask(self, prompts)

        return counted

    monkeypatch.setattr(choose, "check_tree", lambda scorer, prompts: None)  # it asks about one image, too
    monkeypatch.setattr(Scorer, "ask_together", until(None))
    stage.evaluate("base", params)
    everything, whole = list(asked), path.read_bytes()
    assert len(everything) == len(set(everything)) + 1 == 10, "eight images, the blank one, and that for the priors"
    assert not list(journal_folder().glob("*.db"))
    assert "before it was interrupted" not in capsys.readouterr().out

    path.unlink()
    asked.clear()
    monkeypatch.setattr(Scorer, "ask_together", until(3))
    with pytest.raises(KeyboardInterrupt):
        stage.evaluate("base", params)
    assert not path.exists() and len(list(journal_folder().glob("base-*.db"))) == 1
    monkeypatch.setattr(Scorer, "ask_together", until(None))
    stage.evaluate("base", params)
    assert asked == everything
    assert path.read_bytes() == whole
    assert not list(journal_folder().glob("*.db"))
    assert "about 8 images, 3 of them before it was interrupted" in capsys.readouterr().out
    assert find_run(path), "the run is found by the table that it made"


@pytest.fixture
def journal(project: Path, images: Images, rows: list[dict[str, Any]]) -> Callable[..., Path]:
    """Return the journal's path: journal(model, changes to params.yaml by group, questions, images)."""
    for model, weights in (("standard-1", b"one"), ("options-1", b"another")):
        adapter_folder(model).mkdir(parents=True)
        (adapter_folder(model) / "adapter_model.safetensors").write_bytes(weights)

    def path(
        name: str = "standard-1",
        changes: dict[str, Any] | None = None,
        seen: Images | None = None,
        given: list[dict[str, Any]] | None = None,
    ) -> Path:
        params = with_changes(changes or {})
        questions = [row | {"question_type": "color", "matched_options": row["options"]} for row in given or rows]
        asked: dict[str, list[Asked]] = {
            condition: ask_under(questions, condition, shown, Distractors(questions), params.seed)
            for condition, shown in params.evaluate.conditions.items()
        }
        return stage._journal_path(name, params, asked, seen or images)

    return path


def with_changes(changes: dict[str, Any]) -> Params:
    """The project's parameters with other values, by their dotted names."""
    values = YAML(typ="safe", pure=True).load(Path("params.yaml"))
    for key, value in changes.items():
        changed(values, key, value)
    return check_params(values)


PROMPT = {"open": "{question}", "options": "{question} {options}"}


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt.open": "{question}"},
        {"prompt.options": "{options} {question}"},
        {"arms.standard.prompt": PROMPT},
        {"evaluate.conditions.shuffled": {"order": "shuffled"}},
        {"evaluate.conditions.options": {"count": 3}},
        {"evaluate.max_new_tokens": 9},
        {"evaluate.tokens_per_pass": 64},
        {"model.quantization.load_in_4bit": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_journal_is_used_for_what_changes_the_answers(journal: Callable[..., Path], changes: dict[str, Any]) -> None:
    assert journal(changes=changes) != journal()


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate.bertscore_layers": 6},
        {"evaluate.tokens_per_pass": 512},  # what `auto` takes without a GPU
        {"compare.confidence": 0.9},
        {"train.learning_rate": 1.0},
        {"train.replicates": [1, 2, 3, 4]},
        {"registry.champion_under": ["options"]},
        {"arms.options.prompt": PROMPT},
        {"arms.third": {"options_first": 0.5, "options_last": 0.5}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_journal_outlives_what_does_not_change_the_answers(
    journal: Callable[..., Path], changes: dict[str, Any]
) -> None:
    assert journal(changes=changes) == journal()


def test_a_journal_belongs_to_its_adapter_images_and_questions(
    journal: Callable[..., Path], images: Images, rows: list[dict[str, Any]]
) -> None:
    first = journal()
    assert first.parent == journal_folder()
    assert len({first, journal("options-1"), journal("base")}) == 3
    assert journal(seen=images | {"image-0": images["image-1"]}) != first
    assert journal(given=[rows[0] | {"question": "What colour is it?"}, *rows[1:]]) != first
    (adapter_folder("standard-1") / "README.md").write_text("a card alone changes nothing")
    assert journal() == first
    (adapter_folder("standard-1") / "adapter_model.safetensors").write_bytes(b"trained anew")
    assert journal() != first


def test_a_journal_belongs_to_the_code_that_answers(
    journal: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, asked = journal(), []
    monkeypatch.setattr(stage, "code_digest", lambda module: asked.append(module) or "other code")
    assert journal() != first
    assert asked == ["abo_vqa.inference.stage"], "with how the model is loaded"


def test_questions_without_a_counterpart_are_counted(rows: list[dict[str, Any]]) -> None:
    [question] = ask_under(
        [rows[0] | {"question_type": "color"}], "open", ConditionParams(options="none"), Distractors([]), 0
    )
    asked = {"open": [question] * 3, "open/blank": [question] * 3, "open/other": [question] * 2, "blind": [question]}
    assert stage._left_out(asked) == "; 1 not under open/other: no other image suits"
