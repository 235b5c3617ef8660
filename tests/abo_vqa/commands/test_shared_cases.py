"""Question sets that people really bring, where they are there: each read right, or refused by name."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from abo_vqa.commands import evaluate
from abo_vqa.commands.question_sets import read_question_set
from abo_vqa.common.errors import InputError
from abo_vqa.generators.recorded import read_recorded
from shared_cases import shared_cases

SPECIAL = ", which a model reads as a special token; leave it out"
COLORS = ["red", "blue", "green", "black"]
# What is asked of the four boxes, in all formats.
ALL = [(color, COLORS) for color in COLORS]


@pytest.fixture(scope="module")
def cases() -> Path:
    return shared_cases()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("ok.jsonl", ALL),
        ("csv_by_pandas.csv", ALL),
        ("csv_options_json.csv", ALL),
        ("csv_semicolon.csv", ALL),
        ("csv_tab.csv", ALL),
        ("hf_datasets_embedded.parquet", ALL),
        ("json_is_lines.json", ALL),
        ("jsonl_blank_end.jsonl", ALL),
        ("options_dict.jsonl", ALL),
        ("options_lettered.jsonl", ALL),
        ("parquet_raw_bytes.parquet", ALL),
        ("scienceqa_like.parquet", ALL),
        ("options_bool.jsonl", [("yes", ["yes", "no"])]),
        ("parquet_option_d_nan.parquet", [("red", COLORS[:3]), ("blue", COLORS)]),
        ("zero_width.jsonl", [("red", COLORS)]),
        ("json_int_image_id_with_gap.json", ALL[:2]),
        ("json_question_null.jsonl", [("blue", COLORS)]),
        ("answer_and_index_disagree.jsonl", []),
        ("image_tag.jsonl", []),
    ],
)
def test_a_set_is_read_right(cases: Path, name: str, read: list[tuple[str, list[str]]]) -> None:
    rows, _ = read_question_set(cases / "sets" / name)
    assert [(row["answer"], row["options"]) for row in rows] == read
    assert [row["options"][row["answer_index"]] for row in rows] == [answer for answer, _ in read]


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        (
            "answer_and_index_disagree.jsonl",
            ["row 1: the answer 'red' is option 1 (red), but the index 1 is option 2 (blue)"],
        ),
        ("json_question_null.jsonl", ["row 1: no question"]),
        ("json_int_image_id_with_gap.json", ["row 3: no image"]),
        ("zero_width.jsonl", ["row 2: duplicate options: red, blue, blue, green"]),
        (
            "image_tag.jsonl",
            ["row 1: the question has '<image>', which a model reads as a special token; leave it out"],
        ),
        ("json_problems_by_id.json", ["row 2: no image", "row 4: no image"]),
    ],
)
def test_a_bad_row_is_named(cases: Path, name: str, problems: list[str]) -> None:
    assert read_question_set(cases / "sets" / name)[1][: len(problems)] == problems


def test_numbers_name_images_beside_a_gap(cases: Path) -> None:
    assert [row["image_id"] for row in read_question_set(cases / "sets/json_int_image_id_with_gap.json")[0]] == [
        "7",
        "8",
    ]


def test_problems_by_id_keep_their_ids_and_indices(cases: Path) -> None:
    rows, problems = read_question_set(cases / "sets/json_problems_by_id.json", "{split}/{id}/{}")
    assert len(rows) == len(problems) == 1500
    assert [(row["qa_id"], row["image_id"], row["answer"]) for row in rows[:2]] == [
        ("1", "test/1/image.png", "blue"),
        ("3", "test/3/image.png", "black"),
    ]


def test_embedded_images_are_four_whatever_their_path(cases: Path, tmp_path: Path) -> None:
    for name in ("hf_datasets_embedded.parquet", "scienceqa_like.parquet", "parquet_raw_bytes.parquet"):
        rows, images, problems = evaluate._questions(arguments(cases / "sets" / name))
        assert problems == [] and len(images) == 4
        boxes = [(cases / f"images/{color}.png").read_bytes() for color in COLORS]
        assert [images[row["image_id"]] for row in rows] == boxes


@pytest.mark.parametrize(
    "name", ["sets/csv_trailing_comma.csv", "recorded/trailing_comma.csv", "recorded/unquoted_comma.csv"]
)
def test_too_many_fields_are_refused_by_line(cases: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"line 2 has [89] fields, the header 7"):
        read_question_set(cases / name) if name.startswith("sets") else list(read_recorded(cases / name))


def test_a_blank_line_is_no_recorded_output(cases: Path) -> None:
    assert [output.output for output in read_recorded(cases / "recorded/blank_end.jsonl")] == ["x"]


def arguments(questions: Path, images: Path | None = None, **changes: Any) -> SimpleNamespace:
    """What evaluate asks of a set before it loads a model."""
    given = {"image_name": "{}", "limit": None, "skip_bad": False, "conditions": ["open"]}
    return SimpleNamespace(questions=questions, images=images, **(given | changes))


@pytest.mark.parametrize("name", ["truncated.jpg", "png_big_text.png"])
def test_an_unreadable_picture_is_found_before_a_model_is_loaded(cases: Path, name: str) -> None:
    questions = cases / f"odd_{Path(name).stem.removeprefix('odd_')}.jsonl"
    with pytest.raises(InputError, match=rf"1 problems: image {name} cannot be read: .*--skip-bad skips such rows"):
        evaluate._questions(arguments(questions, cases / "oddimages"))
    rows, images, problems = evaluate._questions(arguments(questions, cases / "oddimages", skip_bad=True))
    assert [row["image_id"] for row in rows] == list(images) == ["plain.jpg"]
    assert len(problems) == 1 and name in problems[0]


def test_an_adapter_of_other_layers_is_refused(cases: Path, root: Path, tmp_path: Path) -> None:
    from abo_vqa.common.params.model import ModelParams, QuantizationParams
    from abo_vqa.model.adapters import attach_adapters
    from abo_vqa.model.base.loading import load_base

    whole = QuantizationParams(load_in_4bit=False, quant_type="nf4", double_quant=True, compute_dtype="float32")
    base = load_base(ModelParams(base=str(root / "models/demo"), quantization=whole))
    folder = Path(shutil.copytree(cases / "adapter_foreign_names", tmp_path / "foreign"))
    with pytest.raises(InputError, match=r"foreign: .* 56 of its weights have no place, and 56 places get none"):
        attach_adapters(base, {"foreign": folder})
