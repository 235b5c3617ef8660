"""Trials: one real step of each stage, on the run's own tables or on drawn questions, and what stops them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from abo_demo.llava_next import save_llava_next
from abo_vqa.commands.app import app
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.generators.vlm_writer import Picture, QuestionWriter
from abo_vqa.planning.trial import drawn_questions, largest_pass, try_stages
from abo_vqa.planning.work import Work, work_of

DRAWN = Work(40, 30, 150, 5, 25, measured=False)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_step_of_training_and_of_evaluation_on_drawn_questions(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train, evaluate = try_stages(tiny_params, DRAWN)
    # Five questions about an image, four in a pass.
    assert (train.stage, train.did) == ("train", "4 questions about 2 images")
    assert train.runs == len(tiny_params.arms) * len(tiny_params.train.replicates) == evaluate.runs - 1
    assert train.steps == 150 * tiny_params.train.epochs / 4
    assert evaluate.stage == "evaluate" and evaluate.did.endswith("prompts about an image")
    for trial in (train, evaluate):
        assert trial.seconds > 0 and trial.loading > 0 and trial.memory > 2**26
    assert files(tmp_path) == set(), "nothing of the project is changed"


def test_the_largest_pass_of_the_runs_own_tables_is_trained(tiny_params: Params, images: dict[str, bytes]) -> None:
    drawn, rows, read = drawn_questions(tiny_params, DRAWN), list[dict[str, Any]](), list[set[str]]()
    # Four images of five questions, and four of one, which make the pass with most images.
    for place, image in enumerate(images):
        some = drawn[: 1 if place > 3 else 5]
        rows += [row | {"image_id": image, "qa_id": f"{image}-{at}"} for at, row in enumerate(some)]

    def read_images(ids: set[str]) -> dict[str, bytes]:
        read.append(ids)
        return {image: images[image] for image in ids}

    tables = {"train": rows, "test": rows}, read_images
    train, _ = try_stages(tiny_params, Work(8, 8, 24, 8, 24, measured=True), tables)
    assert train.did == "4 questions about 4 images"
    assert len(read) == 1 and len(read[0]) <= 5, "no more images than are needed"


def test_of_passes_with_as_many_images_the_longest_text_is_the_largest() -> None:
    rows = [("a", "long enough"), ("a", "x"), ("b", "x"), ("c", "x"), ("d", "xx"), ("e", "x"), ("f", "x"), ("f", "x")]
    dataset = Dataset.from_list([{"image": image, "text": text} for image, text in rows])
    assert largest_pass(dataset, 2) == [4, 5]
    assert largest_pass(dataset, 3) == [3, 4, 5]


def test_a_batch_of_the_writing_model(tiny_params: Params, tmp_path: Path) -> None:
    params = writing(tiny_params, tmp_path)
    generate, *others = try_stages(params, DRAWN)
    assert (generate.stage, generate.did, generate.runs) == ("generate", "3 images, 3 at once", 1)
    assert generate.steps == pytest.approx(40 / 3)
    assert [trial.stage for trial in others] == ["train", "evaluate"]


def writing(params: Params, folder: Path) -> Params:
    """The parameters with a tiny model that writes the questions."""
    vlm = params.generate.vlm.model_copy(
        update={
            "base": str(save_llava_next(folder / "vlm")),
            "batch_size": 3,
            "longest_question": 24,
            "longest_word": 5,
        }
    )
    return params.model_copy(update={"generate": params.generate.model_copy(update={"source": "vlm", "vlm": vlm})})


def test_memory_too_small_for_one_image_is_said(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: QuestionWriter, pictures: Sequence[Picture]) -> Any:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr(QuestionWriter, "__call__", fails)
    with pytest.raises(InputError, match=r"generate\.vlm: a single image does not fit into memory"):
        next(try_stages(writing(tiny_params, tmp_path), DRAWN))


def test_weights_that_are_not_numbers_stop_it(tiny_params: Params, tiny_base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_base.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("model.norm.weight"))
    save_file(
        weights | {name: torch.full_like(weights[name], torch.nan)}, broken / "model.safetensors", {"format": "pt"}
    )
    model = tiny_params.model.model_copy(update={"base": str(broken)})
    with pytest.raises(InputError, match=r"nan|not finite"):
        list(try_stages(tiny_params.model_copy(update={"model": model}), DRAWN))


def test_the_command_prints_plan_and_trial(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    said = CliRunner().invoke(app, ["plan", "--try"])
    assert said.exit_code == 0, said.output
    plan, tried = said.output.split("# Tried on this machine (measured)")
    assert "# Plan for cpu" in plan
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tried.splitlines() if line.startswith("| ")]
    assert rows[0] == ["stage", "tried", "loading", "took", "peak memory", "runs", "time each"]
    assert [row[0] for row in rows[1:]] == ["train", "evaluate"]
    assert "18 questions about" in rows[1][1]


def test_another_card_is_not_tried(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    said = CliRunner().invoke(app, ["plan", "--try", "--card", "T4"])
    assert said.exit_code != 0 and "--try runs on this machine" in said.output + str(said.exception)


def test_drawn_questions_are_as_many_as_planned(make_params: Any) -> None:
    params = make_params()
    work = work_of(params, {})
    rows = drawn_questions(params, work)
    assert len({row["qa_id"] for row in rows}) == len(rows) >= params.train.batch_size
    assert all(row["answer"] in row["options"] and len(set(row["options"])) == 4 for row in rows)
