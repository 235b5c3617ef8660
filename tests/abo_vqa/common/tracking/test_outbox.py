"""Entries that the server does not get wait in order, and each is deleted once it is sent."""

import json
from pathlib import Path
from typing import Any

import pytest
from requests import ConnectionError

from abo_vqa.common.journal import open_journal
from abo_vqa.common.tracking import outbox
from abo_vqa.common.tracking.outbox import COPIES, ENTRIES, Outbox, send_folder, send_kept


class Client:
    """Gets entries while `room` lasts and cannot be reached then."""

    tracking_uri = "http://server"

    def __init__(self, room: int) -> None:
        self.room, self.got = room, []


@pytest.fixture(autouse=True)
def post(monkeypatch: pytest.MonkeyPatch) -> None:
    def post(client: Any, run_id: str, entry: Any) -> None:
        if client.room <= 0:
            raise ConnectionError("no server")
        client.room -= 1
        client.got.append(entry)

    monkeypatch.setattr(outbox, "post", post)
    monkeypatch.setattr(outbox, "_PATIENCE", 0.0)


def waiting(folder: Path) -> list[Any]:
    with open_journal(folder / ENTRIES) as journal:
        return journal.read()


def tags(*numbers: int) -> list[dict[str, Any]]:
    return [{"tags": {"number": str(number)}} for number in numbers]


def test_an_outage_in_the_middle_sends_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(room=2)
    box = Outbox(client, "run", tmp_path)
    for entry in tags(0, 1, 2, 3, 4):
        box.send(entry)
    assert client.got == tags(0, 1)
    assert capsys.readouterr().err.count("cannot be reached") == 1
    client.room = 2
    box.send(*tags(5))
    assert client.got == tags(0, 1, 2, 3)
    assert waiting(tmp_path / "run") == tags(4, 5)
    client.room = 10
    box.send(*tags(6))
    assert client.got == tags(0, 1, 2, 3, 4, 5, 6)
    assert not (tmp_path / "run").exists()


def test_a_later_run_sends_what_an_ended_one_has_left(tmp_path: Path) -> None:
    client = Client(room=0)
    Outbox(client, "run", tmp_path).send(*tags(0))
    client.room = 10
    assert send_kept(client, tmp_path) == [], "its process is alive"
    owner = tmp_path / "run/owner.json"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"started": "0"}))
    other = Client(room=10)
    other.tracking_uri = "http://another"
    assert send_kept(other, tmp_path) == []
    assert send_kept(client, tmp_path) == ["run"]
    assert client.got == tags(0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_entries_is_removed(tmp_path: Path) -> None:
    """A process can be killed between the folder's two files."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/owner.json").write_text("{}")
    send_folder(Client(room=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_artifacts_are_kept_as_they_are_now(tmp_path: Path) -> None:
    client, file = Client(room=0), tmp_path / "table.csv"
    file.write_text("now")
    Outbox(client, "run", tmp_path / "unsent").send({"artifact": str(file)})
    file.write_text("later")
    [entry] = waiting(tmp_path / "unsent/run")
    assert (tmp_path / "unsent/run" / COPIES / entry["artifact"]).read_text() == "now"
