"""Anybody's predictions are read by name and matched by question; what contradicts is named with file and row."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abo_vqa.commands.prediction_files import read_predictions
from abo_vqa.commands.prediction_matching import match_files
from abo_vqa.common.errors import InputError
from abo_vqa.common.words import normalize

ROWS = [
    {"image": "a.jpg", "question": "Color?", "answer": "red", "prediction": "blue"},
    {"image": "a.jpg", "question": "How many?", "answer": "2", "prediction": "two"},
    {"image": "b.jpg", "question": "Color?", "answer": "grey", "prediction": "gray"},
]
NO_TEXT = {"image": "a", "id": 2, "question": None, "answer": "x", "prediction": "x"}


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


def matched(folder: Path, *files: list[dict]) -> list[dict]:
    paths = [lines(folder / f"{name}.jsonl", rows) for name, rows in zip("xyz", files, strict=False)]
    return match_files({path: read_predictions(path) for path in paths})


# Columns and cells.


@pytest.mark.parametrize(
    ("names", "read"),
    [
        ("image_name,question,answer,generated_answer", ("red", "blue")),
        ("Image ID,Question,Label,Model-Output", ("red", "blue")),
        ("img_id,question_id,ground_truth,response", ("red", "blue")),
        ("image,question,gold,answer", ("red", "blue")),
        ("image,question,final_answer,pred", ("red", "blue")),
    ],
)
def test_column_names_that_people_use(tmp_path: Path, names: str, read: tuple[str, str]) -> None:
    for separator in ",;\t":
        path = csv(
            tmp_path / "x.csv", names.replace(",", separator), separator.join(["1.jpg", "Color?", "red", "blue"])
        )
        [row] = read_predictions(path)
        assert (row.image, row.question or row.qa_id) == ("1.jpg", "Color?")
        assert (row.answer, row.prediction, row.options) == (*read, ())


def test_an_explicit_gold_makes_answer_the_prediction_only_if_there_is_no_other(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "image,question,gold,answer,prediction", "1.jpg,Color?,red,Red.,blue")
    [row] = read_predictions(path)
    assert (row.answer, row.prediction) == ("red", "blue")


@pytest.mark.parametrize(
    ("options", "answer", "prediction", "read"),
    [
        (["red", "blue"], "red", "B", ("red", "blue")),
        (["red", "blue"], "A", "B) blue\nbecause", ("red", "blue")),
        (["A) red", "B) blue"], "red", "A", ("red", "red")),
        ({"A": "red", "B": "blue"}, "B", "(a)", ("blue", "red")),
        ({"option_b": "blue", "option_a": "red"}, "B", "(a)", ("blue", "red")),
        (["A+", "C++"], "C++", "A", ("C++", "A+")),
        ('["red", "blue"]', "red", "blue", ("red", "blue")),
        ("['red', 'blue']", "red", "green", ("red", "green")),
        ([True, False], True, False, ("yes", "no")),
        (["1", "2"], 1, 2.0, ("1", "2")),
        (None, "B", "B", ("B", "B")),
        (["grey", "blue"], "gray", ["grey"], ("gray", "grey")),
    ],
)
def test_options_and_letters(tmp_path: Path, options, answer, prediction, read: tuple[str, str]) -> None:
    row = {"image": 7, "question": "?", "options": options, "answer": answer, "prediction": prediction}
    [found] = read_predictions(lines(tmp_path / "x.jsonl", [row]))
    assert (found.answer, found.prediction) == read


def test_an_index_is_read_from_a_column_of_indices(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "x.csv", "image,question,option_a,option_b,answer_index,prediction", "1.jpg,Color?,red,blue,1,b"
    )
    [row] = read_predictions(path)
    assert (row.answer, row.prediction, row.options) == ("blue", "blue", ("red", "blue"))


def test_missing_cells_are_empty_and_numbers_are_as_written(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image_id": [7.0, 8.0], "question": ["?", "?"], "answer": ["1", "1"], "prediction": [float("nan"), 1.0]}
    )
    table.to_parquet(tmp_path / "x.parquet")
    first, second = read_predictions(tmp_path / "x.parquet")
    assert (first.image, first.prediction, second.prediction) == ("7", "", "1")
    path = csv(tmp_path / "x.csv", "image,question,answer,prediction", "7,?,none,NaN", "8,?,none,None")
    assert [row.prediction for row in read_predictions(path)] == ["", "None"]


def test_of_several_conditions_one_is_chosen(tmp_path: Path) -> None:
    rows = [row | {"condition": name, "qa_id": 1} for name in ("open", "options") for row in ROWS]
    path = lines(tmp_path / "x.jsonl", rows)
    assert [row.row for row in read_predictions(path, "options")] == [4, 5, 6]
    with pytest.raises(InputError, match="has several conditions; choose one by --condition: open, options"):
        read_predictions(path)
    with pytest.raises(InputError, match="no rows of the condition closed; it has open, options"):
        read_predictions(path, "closed")
    other = lines(tmp_path / "y.jsonl", ROWS)
    assert len(read_predictions(other, "options")) == 3, "a file without conditions is taken whole"


def test_embedded_images_are_known_by_their_bytes(tmp_path: Path) -> None:
    images = [{"bytes": data, "path": "image.png"} for data in (b"1", b"2")]
    pd.DataFrame({"image": images, "question": "?", "answer": "a", "prediction": "a"}).to_parquet(
        tmp_path / "x.parquet"
    )
    assert len({row.image for row in read_predictions(tmp_path / "x.parquet")}) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": None}, "row 2: no image"),
        ({"question": " "}, "row 2: no question"),
        ({"answer": None}, "row 2: no gold answer"),
        ({"answer": "..."}, "row 2: no gold answer"),
        (
            {"options": "red, blue"},
            "row 2: the options are the text 'red, blue', no list in JSON or Python; write it so",
        ),
        ({"options": ["3", "4"]}, "row 2: the gold answer '2' is none of the options 3, 4"),
        ({"prediction": ["2", "3"]}, "row 2: the prediction is a list, not a text"),
        ({"prediction": {"text": "2"}}, "row 2: the prediction is an object of text, not a text"),
        ({"options": ["2", "", "4"]}, "row 2: option 2 (B) is empty, but a later one is not; fill it or move them up"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict, says: str) -> None:
    path = lines(tmp_path / "x.jsonl", [ROWS[0], ROWS[1] | change])
    with pytest.raises(InputError) as error:
        read_predictions(path)
    assert str(error.value) == f"{path}, {says}"


def test_the_image_column_is_not_finer_than_another_one(tmp_path: Path) -> None:
    """One path per question of an image would take an image's questions as independent."""
    rows = [ROWS[0] | {"image": f"{n}.jpg", "image_id": n // 2} for n in range(4)]
    with pytest.raises(
        InputError, match=r"row 2: 0 in the column image_id is 1\.jpg in the column image, 0\.jpg in row 1"
    ):
        read_predictions(lines(tmp_path / "x.jsonl", rows))
    coarser = [row | {"image": f"{row['image_id']}.jpg", "image_id": n, "path": None} for n, row in enumerate(rows)]
    assert len({row.image for row in read_predictions(lines(tmp_path / "x.jsonl", coarser))}) == 2


def test_paths_are_normalized(tmp_path: Path) -> None:
    one, two = matched(tmp_path, ROWS, [row | {"image": f"./x/../{row['image']}"} for row in ROWS])
    assert list(one) == list(two)
    [row] = read_predictions(lines(tmp_path / "x.jsonl", [ROWS[0] | {"image": "https://a.b/c.jpg"}]))
    assert row.image == "https://a.b/c.jpg"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("image,question,answer\n1,2,3\n", "no column for prediction; it has image, question, answer; expected: image"),
        ("question,prediction\n1,2\n", "no column for image, answer; it has"),
        ("image,question,answer,prediction\n", "has no rows"),
        ("", "no column for image, prediction, question, answer; it has none; expected"),
        ("image,question,answer,prediction\n1,What color, exactly?,red,red\n", "line 2 has 5 fields, the header 4"),
        ("image,question,answer,prediction\n1,2,3\n", "line 2 has 3 fields, the header 4"),
        ("image,question,answer,answer\n1,2,3,4\n", "the columns answer, answer have one name"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=r"x\.csv: ") as error:
        read_predictions(tmp_path / "x.csv")
    assert says in str(error.value)


# Matching.


def test_rows_are_matched_by_question_in_any_order(tmp_path: Path) -> None:
    other = [row | {"prediction": f"other {row['prediction']}"} for row in ROWS[::-1]]
    other[0] |= {"question": " Color?\n", "answer": "Gray."}
    one, two = matched(tmp_path, ROWS, other)
    assert list(one) == list(two) and len(one) == 3
    assert all(two[key].prediction == f"other {row.prediction}" for key, row in one.items())


def test_ids_are_used_where_a_question_is_asked_twice(tmp_path: Path) -> None:
    twice = [ROWS[0] | {"question_id": "q1"}, ROWS[0] | {"question_id": "q2", "prediction": "red"}]
    one, two = matched(tmp_path, twice, twice[::-1])
    assert [row.prediction for row in two.values()] == [row.prediction for row in one.values()] == ["blue", "red"]
    # Row numbers as ids do not matter where image and question suffice.
    numbered = [[row | {"id": place} for place, row in enumerate(rows)] for rows in (ROWS, ROWS[::-1])]
    assert len(matched(tmp_path, *numbered)[0]) == 3


def test_without_a_question_ids_are_matched(tmp_path: Path) -> None:
    rows = [{"image": "a", "qa_id": str(n), "answer": "x", "prediction": str(n)} for n in range(3)]
    one, two = matched(tmp_path, rows, rows[::-1])
    assert [row.prediction for row in one.values()] == [row.prediction for row in two.values()] == ["0", "1", "2"]


def test_options_groups_and_types_of_one_file_hold_for_all(tmp_path: Path) -> None:
    typed = [row | {"question_type": "t", "image_group": "g"} for row in ROWS]
    typed[0] |= {"options": ["red", "blue"]}
    for tables in (matched(tmp_path, ROWS, typed), matched(tmp_path, typed, ROWS)):
        for table in tables:
            assert {(row.question_type, row.image_group) for row in table.values()} == {("t", "g")}
            assert next(iter(table.values())).options == ("red", "blue")
    plain, _ = matched(tmp_path, ROWS, ROWS)
    assert {(row.question_type, row.image_group) for row in plain.values()} == {("all", "a.jpg"), ("all", "b.jpg")}


def test_an_image_has_the_group_that_any_row_of_it_has(tmp_path: Path) -> None:
    """Groups in some rows only are no groups within an image."""
    partly = [ROWS[0] | {"image_group": "g"}, *ROWS[1:]]
    for tables in (matched(tmp_path, ROWS, partly), matched(tmp_path, partly, ROWS)):
        for table in tables:
            assert [row.image_group for row in table.values()] == ["g", "g", "b.jpg"]


def test_the_images_shown_may_differ_under_different_conditions(tmp_path: Path) -> None:
    first, second = (ROWS[0] | {"shown_image": name, "condition": name} for name in "ab")
    assert len(matched(tmp_path, [first], [second])) == 2


def test_predicted_letters_may_be_options_themselves(tmp_path: Path) -> None:
    sizes = ROWS[0] | {"answer": "S", "prediction": "M"}
    one, two = matched(tmp_path, [sizes], [sizes | {"options": ["S", "M", "L"]}])
    assert [row.prediction for table in (one, two) for row in table.values()] == ["M", "M"]


def test_few_letters_may_be_answers(tmp_path: Path) -> None:
    """Without options, a wrong answer may be a letter; where the right ones are letters, so may all be."""
    few = [row | {"prediction": said} for row, said in zip(ROWS, ("a", "2", "red"), strict=True)]
    prints = [row | {"answer": "Q", "prediction": "O"} for row in ROWS]
    assert all(len(matched(tmp_path, rows, rows)) == 2 for rows in (few, prints))


def test_every_two_files_are_compared(tmp_path: Path) -> None:
    second, third = (ROWS[0] | {"options": options} for options in (["red", "blue"], ["red", "green"]))
    with pytest.raises(InputError, match=r"z\.jsonl, row 1: .* has the options red, green; in \S+y\.jsonl, row 1"):
        matched(tmp_path, ROWS[:1], [second], [third])


def test_csv_spells_what_parquet_holds(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image_id": [7, None, 9], "question": list("abc"), "answer": [True, False, True], "prediction": True}
    ).iloc[[0, 2]]
    table["counted"] = [3, None]
    for name in ("x.csv", "y.parquet"):
        getattr(table, f"to_{name[2:]}")(tmp_path / name)
    files = {tmp_path / name: read_predictions(tmp_path / name) for name in ("x.csv", "y.parquet")}
    assert len(match_files(files)) == 2, "7.0 is 7, True is yes"
    counts = csv(tmp_path / "z.csv", "image,question,answer,prediction", "7,?,3,3.0")
    [row] = read_predictions(counts)
    assert normalize(row.prediction) == normalize(row.answer)


@pytest.mark.parametrize(
    ("value", "read"), [(np.float32(2.5), "2.5"), (np.bool_(False), "no"), (Decimal("3.00"), "3"), (pd.NA, "")]
)
def test_scalars_of_other_kinds_are_read(tmp_path: Path, value: object, read: str) -> None:
    table = pd.DataFrame({"image": ["a"], "question": "?", "answer": "x", "prediction": pd.Series([value])})
    table.to_parquet(tmp_path / "x.parquet")
    assert read_predictions(tmp_path / "x.parquet")[0].prediction == read


def test_a_prediction_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["a"], "question": "?", "answer": "x", "prediction": [pd.Timestamp("2026-01-01")]})
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="row 1: the prediction is a datetime, not a text"):
        read_predictions(tmp_path / "x.parquet")


def test_options_are_lettered_as_in_their_file(tmp_path: Path) -> None:
    row = {"image": 7, "question": "?", "options": {"B": "blue", "A": "red"}, "answer": "A", "prediction": "B"}
    [found] = read_predictions(lines(tmp_path / "x.jsonl", [row]))
    assert (found.answer, found.prediction) == ("red", "blue")
    letters = csv(tmp_path / "x.csv", "image,question,option_a,option_b,option_c,answer,prediction", "7,?,r,,b,b,B")
    with pytest.raises(InputError, match=r"row 1: option 2 \(B\) is empty"):
        read_predictions(letters)


def test_two_columns_for_one_thing_are_refused(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "image,question,answer,prediction,Prediction", "7,?,a,a,b")
    with pytest.raises(InputError, match=r"x\.csv: the columns prediction, Prediction have one name"):
        read_predictions(path)
    path = csv(tmp_path / "x.csv", "image,question,label,answer,prediction", "7,?,a,A.,a", "8,?,0,red,red")
    with pytest.raises(InputError, match=r"row 2: the columns label and answer are both read as .* have '0' and 'red'"):
        read_predictions(path)


def test_an_empty_condition_is_a_condition(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [ROWS[0] | {"condition": "open"}, ROWS[1]])
    with pytest.raises(InputError, match=r"has several conditions; choose one by --condition: open, \(empty\)"):
        read_predictions(path)


def test_options_may_be_in_another_order(tmp_path: Path) -> None:
    first, second = (ROWS[0] | {"options": options} for options in (["red", "blue"], ["Blue", "red"]))
    assert len(matched(tmp_path, [first], [second])) == 2


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (ROWS, [*ROWS, ROWS[1]], r"y\.jsonl, row 4: .*'How many\?' about image a.jpg is there twice, first in row 2"),
        (ROWS, ROWS[1:], r"y\.jsonl: question 'Color\?' about image a\.jpg is missing; it is in \S+x\.jsonl, row 1"),
        (ROWS[:1], ROWS, r"x\.jsonl: question .* is missing \(and 1 more\); it is in \S+y\.jsonl, row 2"),
        (
            ROWS,
            [ROWS[0] | {"answer": "blue"}, *ROWS[1:]],
            r"y\.jsonl, row 1: .* has the gold answer 'blue', 'red' in \S+, row 1",
        ),
        (
            [ROWS[0] | {"options": ["red", "blue"]}],
            [ROWS[0] | {"options": ["red", "green"]}],
            r"y\.jsonl, row 1: .* has the options red, green; in \S+x\.jsonl, row 1, they are red, blue",
        ),
        (
            [ROWS[0] | {"image_group": 1}],
            [ROWS[0] | {"image_group": 2}],
            r"y\.jsonl, row 1: image a\.jpg has the image group '2', '1' in \S+x\.jsonl, row 1; an image belongs",
        ),
        (
            [row | {"image_group": place} for place, row in enumerate(ROWS)],
            ROWS,
            r"x\.jsonl, row 2: image a\.jpg has the image group '1', '0' in \S+x\.jsonl, row 1; an image belongs",
        ),
        (
            [{"image": "a", "id": 1, "question": "Color?", "answer": "x", "prediction": "x"}, NO_TEXT],
            [{"image": "a", "id": 1, "question": "Size?", "answer": "x", "prediction": "x"}, NO_TEXT],
            r"y\.jsonl, row 1: .* has the text 'Size\?', 'Color\?' in \S+x\.jsonl, row 1",
        ),
        (
            [ROWS[0] | {"shown_image": "a.jpg", "condition": "swapped"}],
            [ROWS[0] | {"shown_image": "c.jpg", "condition": "swapped"}],
            r"y\.jsonl, row 1: .* has the shown image 'c\.jpg', 'a\.jpg' in \S+x\.jsonl, row 1",
        ),
        (
            [ROWS[0] | {"options": ["red", "blue"]}, ROWS[1]],
            [ROWS[0] | {"prediction": "(B)"}, ROWS[1]],
            r"y\.jsonl, row 1: the prediction '\(B\)' is a letter, as 1 of 1 are, .*; add its options",
        ),
        (
            [ROWS[0] | {"options": ["red", "blue"]}],
            [ROWS[0] | {"prediction": "B) red"}],
            r"y\.jsonl, row 1: the prediction 'B\) red' is a letter, as 1 of 1 are",
        ),
        (
            [ROWS[0] | {"image": n, "options": ["red", "blue"]} for n in range(20)],
            [ROWS[0] | {"image": n, "prediction": "A" if n == 5 else "red"} for n in range(20)],
            r"y\.jsonl, row 6: the prediction 'A' is a letter, as 1 of 20 are",
        ),
        (
            ROWS,
            [row | {"prediction": said} for row, said in zip(ROWS, "ab2", strict=True)],
            r"y\.jsonl, row 1: the prediction 'a' is a letter, as 2 of 3 are, but the file has no options",
        ),
        (
            [ROWS[0] | {"answer": "B) red", "prediction": "B) red"}],
            [ROWS[0] | {"answer": "B) red", "prediction": "B"}],
            r"y\.jsonl, row 1: the prediction 'B' is a letter, as 1 of 1 are, but the file has no options",
        ),
        (
            [ROWS[0] | {"question_type": "color"}],
            [ROWS[0] | {"question_type": "shape"}],
            r"y\.jsonl, row 1: .* has the question type 'shape', 'color' in \S+x\.jsonl, row 1",
        ),
    ],
)  # fmt: skip
def test_tables_that_contradict_are_refused(tmp_path: Path, first: list, second: list, says: str) -> None:
    with pytest.raises(InputError, match=says):
        matched(tmp_path, first, second)
