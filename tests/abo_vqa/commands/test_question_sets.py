"""Anybody's multiple-choice set: four formats, letters, indices and texts as answers, and problems named by row."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from abo_vqa.commands.question_sets import read_question_set
from abo_vqa.common.errors import InputError
from abo_vqa.common.table_files import read_table

# As A-OKVQA publishes them (aokvqa_v1p0_val.json).
AOKVQA = [
    {
        "split": "val",
        "image_id": 461751,
        "question_id": "22jbM6gDxdaMaunuzgrsBB",
        "question": "What is in the motorcyclist's mouth?",
        "choices": ["toothpick", "food", "popsicle stick", "cigarette"],
        "correct_choice_idx": 3,
        "direct_answers": ["cigarette"] * 10,
        "difficult_direct_answer": False,
        "rationales": ["He's smoking."] * 3,
    },
    {
        "split": "val",
        "image_id": 9,
        "question_id": "2Aq5RiEn7eyfWjEbpuYy64",
        "question": "How many are there?",
        "choices": ["1", "2", "3", "4"],
        "correct_choice_idx": 0,
        "direct_answers": ["1"] * 10,
        "difficult_direct_answer": False,
        "rationales": ["One."] * 3,
    },
]


def test_a_okvqas_published_form(tmp_path: Path) -> None:
    path = tmp_path / "aokvqa_v1p0_val.json"
    path.write_text(json.dumps(AOKVQA))
    rows, problems = read_question_set(path)
    assert not problems
    assert rows[0] == {
        "qa_id": "22jbM6gDxdaMaunuzgrsBB",
        "image_id": "461751",
        "image": None,
        "image_file": "461751",
        "question_type": "all",
        "question": "What is in the motorcyclist's mouth?",
        "options": ["toothpick", "food", "popsicle stick", "cigarette"],
        "answer": "cigarette",
        "answer_index": 3,
    }


def test_json_lines_and_parquet_with_images_inside(tmp_path: Path) -> None:
    rows = [{"image": "a.jpg", "question": "Red?", "options": ["yes", "no"], "answer": "No.", "type": "yes/no"}]
    with gzip.open(tmp_path / "set.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    [row], _ = read_question_set(tmp_path / "set.jsonl.gz")
    assert (row["qa_id"], row["image_id"], row["answer"], row["question_type"]) == ("1", "a.jpg", "no", "yes/no")
    rows[0]["image"] = {"bytes": b"jpeg", "path": None}
    pd.DataFrame(rows).to_parquet(tmp_path / "set.parquet")
    [row], _ = read_question_set(tmp_path / "set.parquet")
    assert (row["image_id"], row["image"], row["options"]) == (
        hashlib.sha256(b"jpeg").hexdigest()[:16],
        b"jpeg",
        ["yes", "no"],
    )


@pytest.mark.parametrize(("answer", "index"), [("B", 1), ("b)", 1), ("blue", 1), ("Red.", 0), ("C", 2)])
def test_answers_are_texts_or_letters(tmp_path: Path, answer: str, index: int) -> None:
    header = "path,question,option_a,option_b,option_c,answer"
    (tmp_path / "set.csv").write_text(f"{header}\nx.jpg,Color?,red,blue,c,{answer}\n")
    [row], _ = read_question_set(tmp_path / "set.csv")
    assert (row["answer_index"], row["answer"]) == (index, ["red", "blue", "c"][index])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image;question;option_a;option_b;answer", "x.jpg;Red, or what?;yes;no;no"),
        ("image\tquestion\toptions\tanswer", "x.jpg\tRed, or what?\t['yes', 'no']\tno"),
        ("image_name,Question,Options,answer_index", 'x.jpg,"Red, or what?","[""yes"", ""no""]",1'),
    ],
)
def test_csv_as_spreadsheets_and_pandas_write_it(tmp_path: Path, header: str, row: str) -> None:
    (tmp_path / "set.csv").write_text(f"{header}\r\n{row}\r\n\r\n", encoding="utf-8-sig")
    [read], problems = read_question_set(tmp_path / "set.csv")
    assert (read["image_id"], read["question"], read["options"]) == ("x.jpg", "Red, or what?", ["yes", "no"])
    assert (read["answer"], problems) == ("no", [])


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({"A": "red", "B": "blue"}, ["red", "blue"]),
        ({"B": "blue", "A": "red", "C": None}, ["red", "blue"]),
        ('{"b": "blue", "a": "red"}', ["red", "blue"]),
        ({"2": "red", "1": "blue"}, ["blue", "red"]),
        ({str(place): f"x{place}" for place in range(11, 0, -1)}, [f"x{place}" for place in range(1, 12)]),
        ({"1": "blue", "0": "red"}, ["red", "blue"]),
        ({"option_b": "blue", "option_a": "red"}, ["red", "blue"]),
        ({"Choice B": "blue", "Choice A": "red"}, ["red", "blue"]),
        ({"B)": "blue", "A)": "red"}, ["red", "blue"]),
        ({"(b)": "blue", "(a)": "red"}, ["red", "blue"]),
        ([True, False, None], ["yes", "no"]),
        ([1.0, 2], ["1", "2"]),
    ],
)
def test_options_as_a_mapping_or_as_numbers(tmp_path: Path, options: object, read: list[str]) -> None:
    row = {"image": "x", "question": "?", "options": options, "answer": "B"}
    (tmp_path / "set.jsonl").write_text(f"{json.dumps(row)}\n\n")
    [found], _ = read_question_set(tmp_path / "set.jsonl")
    assert (found["options"], found["answer"]) == (read, read[1])


def test_camel_case_is_a_spelling_of_a_column_name(tmp_path: Path) -> None:
    columns = "questionId,imageName,questionText,questionType,optionA,optionB,answerKey"
    (tmp_path / "set.csv").write_text(f"{columns}\n7,x.jpg,Color?,colors,red,blue,B\n")
    [row], problems = read_question_set(tmp_path / "set.csv")
    assert (row["qa_id"], row["image_id"], row["question"], row["question_type"]) == ("7", "x.jpg", "Color?", "colors")
    assert (row["options"], row["answer"], problems) == (["red", "blue"], "blue", [])
    (tmp_path / "set.csv").write_text("image,question,answerKey,answer_key\nx,?,a,b\n")
    with pytest.raises(InputError, match="answerKey, answer_key have one name"):
        read_question_set(tmp_path / "set.csv")


@pytest.mark.parametrize("names", ["option_{}", "Choice {}", "option{}"])
@pytest.mark.parametrize("keys", ["ab", "12", "01"])
def test_options_in_columns_are_read_in_their_order(tmp_path: Path, names: str, keys: str) -> None:
    first, second = map(names.format, keys)
    (tmp_path / "set.csv").write_text(f"image,{second},{first},question,answer\nx,blue,red,?,B\n")
    [row], problems = read_question_set(tmp_path / "set.csv")
    assert (row["options"], row["answer"], problems) == (["red", "blue"], "blue", [])


def test_an_empty_lettered_column_is_a_gap(tmp_path: Path) -> None:
    columns = "image,question,option_a,option_b,option_c,answer"
    (tmp_path / "set.csv").write_text(f"{columns}\nx,?,red,,blue,B\ny,?,red,blue,,B\n")
    [row], problems = read_question_set(tmp_path / "set.csv")
    assert (row["options"], row["answer"]) == (["red", "blue"], "blue")
    assert problems == ["row 1: option 2 (B) is empty, but a later one is not; fill it or move them up"]
    (tmp_path / "set.csv").write_text("image,question,option_a,option_c,answer\nx,?,red,blue,C\n")
    assert len(read_question_set(tmp_path / "set.csv")[1]) == 1, "a missing column is one, too"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_quote_that_is_not_closed_is_named(tmp_path: Path, separator: str) -> None:
    rows = [["image", "question", "options", "answer"], ["x", "?", "['a', 'b']", "a"]]
    rows += [["x", '"Color', "['a', 'b']", "a"], ["x", 'Size?"', "['a', 'b']", "a"]]
    (tmp_path / "set.tsv").write_text("\n".join(map(separator.join, rows)))
    with pytest.raises(InputError, match="line 3: a field goes on in the next line; a quote is not closed"):
        read_question_set(tmp_path / "set.tsv")
    # Two lines in quotes, at the end and at the beginning of a row.
    two = [
        ["image", "question", "options", "answer"],
        ["x", "?", "['a', 'b']", '"a;\tA:\nb;\tB"'],
        ['"x;\t\ny"', *"?[]"],
    ]
    (tmp_path / "set.tsv").write_text("\n".join(map(separator.join, two)))
    assert read_table(tmp_path / "set.tsv").column("answer")[0] == "a;\tA:\nb;\tB"
    (tmp_path / "set.csv").write_text("image,question,options,answer\nx,\"Well,\nwhat?\",\"['a', 'b']\",a\n")
    assert read_question_set(tmp_path / "set.csv")[0][0]["question"] == "Well,\nwhat?"


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,question,options,answer,Image\nx,?,\"['a', 'b']\",a,y\n")
    with pytest.raises(InputError, match=r"set\.csv: the columns image, Image have one name"):
        read_question_set(tmp_path / "set.csv")


def test_an_index_and_an_id_with_a_fraction_of_zero_are_read(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("id,image,question,option_a,option_b,answer_index\n7.0,8.0,?,red,blue,1.0\n")
    [row], _ = read_question_set(tmp_path / "set.csv")
    assert (row["answer"], row["qa_id"], row["image_id"]) == ("blue", "7", "8")


def test_a_missing_id_or_type_is_not_nan(tmp_path: Path) -> None:
    row = {"image": "x", "question": "?", "options": ["a", "b"], "answer": "b", "id": None, "type": None}
    (tmp_path / "set.json").write_text(json.dumps([row]))
    [read], _ = read_question_set(tmp_path / "set.json")
    assert (read["qa_id"], read["question_type"]) == ("1", "all")


def test_a_csv_line_of_too_many_fields_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,question,option_a,option_b,answer\nx.jpg,Color?,red,blue,red,\n")
    with pytest.raises(InputError, match=r"set\.csv: cannot be read: line 2 has 6 fields, the header 5"):
        read_question_set(tmp_path / "set.csv")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"correct_choice_idx": 4}, "row 2: the index 4 is not in 0 to 3"),
        ({"correct_choice_idx": None}, "row 2: no answer in the column correct_choice_idx"),
        ({"choices": ["1"]}, "row 2: fewer than two options"),
        ({"choices": ["1", "1.", "3", "4"]}, "row 2: duplicate options: 1, 1., 3, 4"),
        ({"question": " "}, "row 2: no question"),
        ({"question": None}, "row 2: no question"),
        ({"image_id": None}, "row 2: no image"),
        ({"image_id": {"bytes": None, "path": None}}, "row 2: no image"),
        (
            {"choices": {"x1": "1", "y": "3"}},
            "row 2: the options x1, y are neither all lettered nor all numbered; write them as a list",
        ),
        (
            {"choices": {"a": "1", "2": "3"}},
            "row 2: the options a, 2 are neither all lettered nor all numbered; write them as a list",
        ),
        (
            {"choices": {"1": "1", "3": "3"}},
            "row 2: option 2 (B) is empty, but a later one is not; fill it or move them up",
        ),
        ({"choices": None}, "row 2: the column correct_choice_idx has an index, but the row has no options"),
        ({"choices": 7}, "row 2: the options are a number, not a list"),
        ({"choices": ["1", "", "3"]}, "row 2: option 2 (B) is empty, but a later one is not; fill it or move them up"),
        (
            {"choices": {"A": "1", "C": "3"}},
            "row 2: option 2 (B) is empty, but a later one is not; fill it or move them up",
        ),
        ({"choices": {"A": "1", "a": "3"}}, "row 2: the options have a letter or number twice: A, a"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path: Path, change: dict, says: str) -> None:
    (tmp_path / "set.json").write_text(json.dumps([AOKVQA[0], AOKVQA[1] | change]))
    rows, problems = read_question_set(tmp_path / "set.json")
    assert [row["qa_id"] for row in rows] == ["22jbM6gDxdaMaunuzgrsBB"]
    assert problems == [says]


@pytest.mark.parametrize(
    ("options", "answer", "read"),
    [
        (["B) red", "A) blue"], "A", "blue"),
        (["1. red", "2. blue"], 2, "blue"),
        (["1) red", "2) blue"], "blue", "blue"),
        (["A) red", "B) blue"], "B) blue", "blue"),
        ({"A": "A) red", "B": "B) blue"}, "B", "blue"),
        (["red", "blue"], "option_b", "blue"),
        (["red", "blue"], ["Blue."], "blue"),
        (["S", "M", "XL"], "A", "S"),
        (["S", "M", "XL"], "M", "M"),
        (["grey", "two", "3.0"], "gray", "grey"),
        (["grey", "two", "3.0"], 2, "two"),
        (["grey", "two", "3.0"], 3, "3.0"),
        (["yes", "no"], True, "yes"),
        ([True, False], "False", "no"),
        (["True", "False"], "no", "no"),
        (["1", "None"], "None", "None"),
        ({"1": "red", "2": "blue"}, 1, "red"),
        ({"0": "red", "1": "blue"}, "1", "blue"),
    ],
)
def test_an_answer_is_an_option_in_any_spelling(tmp_path: Path, options: Any, answer: Any, read: str) -> None:
    row = {"image": "x", "question": "?", "options": options, "answer": answer}
    (tmp_path / "set.jsonl").write_text(json.dumps(row))
    [found], problems = read_question_set(tmp_path / "set.jsonl")
    assert (found["answer"], problems) == (read, [])


@pytest.mark.parametrize(
    ("options", "answer", "says"),
    [
        ({"1": "2", "2": "1"}, 1, "the answer 1 may be option 2 (1) or the one numbered so (2)"),
        (["J. Doe", "A. Smith"], "A", "the answer 'A' is not among the options J. Doe, A. Smith"),
        (["red", "blue"], "B) red", "the answer 'B) red' is not among"),
        (["red", "blue"], 2, "the answer 2 is not among the options red, blue; indices are from 0"),
        (["red", "blue"], "nan", "no answer in the column answer"),
        (["red", "blue"], {"text": "red"}, "the answer is an object of text"),
        (["red", "x\ud800"], "red", "the option has U+FFFD"),
        (["red", "x</s>"], "red", "the option has '</s>', which a model reads as a special token"),
        (["red", "Red."], "red", "duplicate options: red, Red."),
        (["3", "3.0"], "3", "duplicate options: 3, 3.0"),
    ],
)
def test_an_answer_that_is_unclear_is_refused(tmp_path: Path, options: Any, answer: Any, says: str) -> None:
    row = {"image": "x", "question": "?", "options": options, "answer": answer}
    (tmp_path / "set.jsonl").write_text(json.dumps(row).replace("\\\\u", "\\u"))
    assert read_question_set(tmp_path / "set.jsonl")[1][0].startswith(f"row 1: {says}")


def test_an_index_column_is_one_as_a_whole(tmp_path: Path) -> None:
    def read(*answers: Any, **more: Any) -> list[Any]:
        rows = [{"image": "x", "question": "?", "options": ["1", "red", "2"], "answer": a} | more for a in answers]
        (tmp_path / "set.json").write_text(json.dumps(rows))
        found, problems = read_question_set(tmp_path / "set.json")
        return [row["answer"] for row in found] + [problem.partition(":")[0] for problem in problems]

    assert read(0, 1, 2) == ["1", "red", "2"]
    assert read("0", 2.0, None) == ["1", "2", "row 3"]
    assert read(1, 2) == ["1", "2"], "texts"
    assert read("1", "red") == ["1", "red"]
    assert read("red", "red", answer_index=1) == ["red", "red"]
    assert read("red", "2", None, answer_index=1) == ["red", "red", "row 2"]
    assert read(1, answer_idx="0") == ["1"], "the text of option 0"
    assert read(7, answer_idx=0) == ["row 1"]


def test_two_columns_of_options_or_questions_agree(tmp_path: Path) -> None:
    header = "image,question,question_text,options,option_a,option_b,answer"
    lines = [header, "x,?,,\"['a', 'b']\",A,B,a", "x,?,,,a,b,a", "x,?,,\"['a', 'b']\",b,a,a"]
    (tmp_path / "set.csv").write_text("\n".join(lines))
    rows, problems = read_question_set(tmp_path / "set.csv")
    assert [row["options"] for row in rows] == [["a", "b"]] * 2
    assert problems == ["row 3: the columns options and option_a, option_b have different options; drop one"]
    (tmp_path / "set.csv").write_text("\n".join([header, "x,Color?,Size?,,a,b,a"]))
    with pytest.raises(InputError, match=r"row 1: the columns question \('Color\?'\) and question_text \('Size\?'\)"):
        read_question_set(tmp_path / "set.csv")


def test_an_answer_within_the_alphabet_is_no_letter(tmp_path: Path) -> None:
    row = {"image": "x", "question": "?", "options": ["compact disc", "DVD", "book", "vinyl"], "answer": "CD"}
    (tmp_path / "set.jsonl").write_text(json.dumps(row))
    _, problems = read_question_set(tmp_path / "set.jsonl")
    assert problems == ["row 1: the answer 'CD' is not among the options compact disc, DVD, book, vinyl"]


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"image,question,options,answer\n" * 9))
    data[12:16] = b"\xff" * 4
    (tmp_path / "set.csv.gz").write_bytes(data)
    with pytest.raises(InputError, match=r"set\.csv\.gz: truncated or damaged \(Error -3"):
        read_question_set(tmp_path / "set.csv.gz")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.csv: not found"):
        read_question_set(tmp_path / "missing.csv")
    (tmp_path / "set.txt").write_text("x")
    with pytest.raises(InputError, match=r"set\.txt: none of \.parquet"):
        read_question_set(tmp_path / "set.txt")
    (tmp_path / "set.csv").write_text("question,option_a\nx,y\n")
    with pytest.raises(InputError, match="no column for image, options, answer; it has question, option_a"):
        read_question_set(tmp_path / "set.csv")
    (tmp_path / "set.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(InputError, match=r"set\.jsonl: cannot be read: line 2"):
        read_question_set(tmp_path / "set.jsonl")
    (tmp_path / "set.jsonl").write_text('{"a": 1}\n\n[2]\n')
    with pytest.raises(InputError, match=r"set\.jsonl: cannot be read: line 3: a list, not an object"):
        read_question_set(tmp_path / "set.jsonl")
    (tmp_path / "set.json").write_text(json.dumps([AOKVQA[0], AOKVQA[0]]))
    with pytest.raises(InputError, match="question_id has duplicate ids"):
        read_question_set(tmp_path / "set.json")


@pytest.mark.parametrize("image", ["image_name", "image_id", "image_path", "image", "filename"])
@pytest.mark.parametrize("answer", ["answer", "answers", "label", "ground_truth", "Answer"])
def test_a_table_without_options_by_its_usual_columns(tmp_path: Path, image: str, answer: str) -> None:
    (tmp_path / "set.csv").write_text(f"{image},Question,{answer}\nx.jpg,Color?,Red\ny.jpg,Size?,\n")
    [row], problems = read_question_set(tmp_path / "set.csv")
    assert (row["image_id"], row["question"], row["answer"]) == ("x.jpg", "Color?", "Red")
    assert (row["options"], row["answer_index"]) == ([], None)
    assert problems == [f"row 2: no answer in the column {answer}"]


def test_rows_with_and_without_options_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,question,option_a,option_b,answer\nx,?,red,blue,B\ny,?,,,B\nz,?,red,,B\n")
    rows, problems = read_question_set(tmp_path / "set.csv")
    assert [(row["options"], row["answer"]) for row in rows] == [(["red", "blue"], "blue"), ([], "B")]
    assert problems == ["row 3: fewer than two options"]


@pytest.mark.parametrize("offered", ["\nA. red\nB. blue", " (a) red (b) blue", "\nOptions: A: red, B: blue, C: green"])
def test_options_in_a_questions_text_are_no_open_question(tmp_path: Path, offered: str) -> None:
    answers = ("A", "(b)", "red")
    rows = [{"image": "x", "question": f"What color?{offered}", "answer": answer} for answer in answers]
    (tmp_path / "set.json").write_text(json.dumps([*rows, {"image": "x", "question": "Which letter?", "answer": "A"}]))
    read, problems = read_question_set(tmp_path / "set.json")
    assert [row["answer"] for row in read] == ["red", "A"]
    says = "the question has its options in its text; put them into the columns option_a, option_b, ..."
    assert problems == [f"row {number}: {says}" for number in (1, 2)]


def test_a_list_of_answers_is_read_if_they_are_one(tmp_path: Path) -> None:
    rows = [{"image": "x", "question": "?", "answers": answers} for answers in (["Red", "red."], ["red", "blue"], [])]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    [row], problems = read_question_set(tmp_path / "set.json")
    assert row["answer"] == "Red"
    assert problems == [
        "row 2: several different answers: red, blue; give one",
        "row 3: no answer in the column answers",
    ]


@pytest.mark.parametrize(
    ("columns", "row", "named"),
    [
        ("image,filename,question,answer", "a.jpg,b.jpg,?,red", "image ('a.jpg') and filename ('b.jpg')"),
        (
            "image_name,image_path,question,answer",
            "a.jpg,x/b.jpg,?,red",
            "image_path ('x/b.jpg') and image_name ('a.jpg')",
        ),
        ("image,question,answer,label", "a.jpg,?,red,blue", "answer ('red') and label ('blue')"),
        ("image,image_id,question,answer", "b.jpg,1,?,red", "image ('b.jpg') and image_id ('1')"),
    ],
)
def test_two_columns_that_differ_are_both_named(tmp_path: Path, columns: str, row: str, named: str) -> None:
    same = {"label": "c.jpg,?,red,red", "image_id": "a.jpg,1,?,red"}
    first = next((line for name, line in same.items() if name in columns), "c.jpg,c.jpg,?,red")
    (tmp_path / "set.csv").write_text(f"{columns}\n{first}\n{row}\n")
    with pytest.raises(InputError) as refused:
        read_question_set(tmp_path / "set.csv")
    assert f"row 2: the columns {named} may both be" in str(refused.value)


def test_two_columns_that_agree_are_read(tmp_path: Path) -> None:
    columns = "image_path,image_name,image_id,question,answer,ground_truth"
    (tmp_path / "set.csv").write_text(f"{columns}\nx/a.jpg,a.jpg,7,?,red,Red.\nx/b.jpg,b.jpg,8,?,red,\n")
    rows, problems = read_question_set(tmp_path / "set.csv")
    assert ([row["image_id"] for row in rows], problems) == (["x/a.jpg", "x/b.jpg"], [])
