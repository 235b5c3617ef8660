"""`abo-vqa predict-table`: one row for each row of the table, in its order, whatever is wrong with it."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from abo_vqa.commands.app import app

TABLE = """note,image_name,question,answer
"a, b",0.jpg,What color is it?,red
,gone.jpg,What color is it?,red
x,broken.jpg,What color is it?,red
y,1.jpg,What color is it?,blue
z,1.jpg,,blue
w,0.jpg,What color is it?,
"""


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["predict-table", *map(str, arguments)], prog_name="abo-vqa")


@pytest.fixture
def folder(tmp_path: Path, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number, data in enumerate(list(images.values())[:2]):
        (tmp_path / f"pictures/{number}.jpg").write_bytes(data)
    (tmp_path / "pictures/broken.jpg").write_bytes(b"no image")
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def test_every_row_is_written_in_its_order(root: Path, folder: Path) -> None:
    done = invoke("--image_dir", "pictures", "--csv_path", "table.csv", "--base", root / "models/demo")
    assert done.exit_code == 1
    given, written = (pd.read_csv(folder / n, dtype=str, keep_default_na=False) for n in ("table.csv", "results.csv"))
    assert list(written) == [*given, "generated_answer"]
    assert written[list(given)].equals(given)
    assert [bool(text) for text in written["generated_answer"]] == [True, False, False, True, False, True]
    assert written["generated_answer"][0] == written["generated_answer"][5], "the same question"
    assert "table.csv, row 2: image gone.jpg is not in pictures" in done.stderr
    assert "table.csv, row 3: image broken.jpg cannot be read" in done.stderr
    assert "table.csv, row 5: no question" in done.stderr
    assert "results.csv: 6 rows, 3 answered" in done.stdout
    cells = [cell.strip() for cell in done.stdout.splitlines()[3].split("|")[1:-1]]
    assert (cells[0], cells[-1]) == ("5", "-") and "exact match" in done.stdout and "tolerant match" in done.stdout


def test_without_answers_and_with_skip_bad(root: Path, folder: Path) -> None:
    lines = ["image_name,question", "0.jpg,What color is it?", "gone.jpg,What?"]
    (folder / "table.csv").write_text("\n".join(lines))
    done = invoke(
        "--image-dir", "pictures", "--csv-path", "table.csv", "--base", root / "models/demo", "--skip-bad",
        "--output", "mine.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "mine.csv: 2 rows, 1 answered\n" and "row 2: image gone.jpg" in done.stderr
    assert not (folder / "results.csv").exists()


def test_no_model_is_loaded_where_no_row_can_be_asked(folder: Path) -> None:
    (folder / "table.csv").write_text("image_name,question\ngone.jpg,What?\n")
    done = invoke("--image-dir", "pictures", "--csv-path", "table.csv", "--base", "nowhere")
    assert (done.exit_code, (folder / "results.csv").read_text()) == (
        1,
        "image_name,question,generated_answer\ngone.jpg,What?,\n",
    )


@pytest.mark.parametrize(
    ("table", "arguments", "says"),
    [
        (TABLE, [], "--base: give a model folder"),
        (TABLE, ["--output", "a.txt"], "--output a.txt: must end in .csv"),
        (TABLE, ["--output", "no/a.csv"], "--output no/a.csv: the folder no does not exist"),
        (TABLE, ["--output", "table.csv"], "--output table.csv: is the file of --csv-path, too"),
        (TABLE, ["--image-dir", "elsewhere"], "--image-dir elsewhere: no such folder"),
        ("image_name,text\na,b\n", [], "no column for question; it has image_name, text"),
        ("image,question,generated_answer\na,b,c\n", [], "has a column generated_answer already"),
        ("image,question,answer\n0.jpg,b,\"['x', 'y']\"\n", [], "row 1: several different answers: x, y"),
    ],
)
def test_what_is_wrong_is_named_before_a_model_is_loaded(
    folder: Path, table: str, arguments: list[str], says: str
) -> None:
    (folder / "table.csv").write_text(table)
    done = invoke("--image-dir", "pictures", "--csv-path", "table.csv", *arguments)
    assert done.exit_code == 1
    assert says in done.stderr
    assert not (folder / "results.csv").exists() and (folder / "table.csv").read_text() == table
