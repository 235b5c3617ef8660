"""Addresses of stores: anchored at the project, without passwords, and right after the project has moved."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import read_params
from abo_vqa.common.tracking import outbox, store
from abo_vqa.common.tracking.address import is_database, masked, tracking_address
from abo_vqa.common.tracking.outbox import Outbox
from abo_vqa.common.tracking.run import tracked_run
from abo_vqa.common.tracking.store import open_store
from paths import ROOT

SECRET = "s3cr/et@!"
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DVC_ROOT")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: bytes) -> Path:
    folder = tmp_path / "my projekt ü"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (folder / "mlflow.db").write_bytes(empty_store)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("given", "anchored"),
    [
        ("", "sqlite:///{}/mlflow.db"),
        ("sqlite:///team.db", "sqlite:///{}/team.db"),
        ("sqlite:///./runs/team.db?timeout=60", "sqlite:///{}/runs/team.db?timeout=60"),
        ("sqlite+pysqlite:///team.db", "sqlite+pysqlite:///{}/team.db"),
        ("sqlite:////srv/team.db", "sqlite:////srv/team.db"),
        ("postgresql://host/runs", "postgresql://host/runs"),
        ("http://server:5000/mlflow", "http://server:5000/mlflow"),
    ],
)
def test_a_relative_database_lies_at_the_project(root: Path, monkeypatch, given: str, anchored: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert tracking_address(root, root / "mlflow.db") == anchored.format(root)


@pytest.mark.parametrize(
    "given", ["sqlite://", "sqlite:///", "sqlite:", "sqlite:///:memory:", "sqlite:///file:a?uri=1"]
)
def test_a_database_that_ends_with_its_process_is_refused(root: Path, monkeypatch, given: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI: .* names no file"):
        open_store()


def test_a_temporary_experiments_runs_and_files_are_in_the_projects_database(root: Path, monkeypatch) -> None:
    """DVC deletes the folder that the experiment ran in."""
    (root / "mlflow.db").rename(root / "team.db")
    copy = root / "tmp/exp"
    copy.mkdir(parents=True)
    (copy / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    (copy / "card.md").write_text("card")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///team.db")
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(copy)
    with tracked_run("train", read_params(), {}) as run:
        run.log_artifact(Path("card.md"))
    assert sorted(path.name for path in copy.iterdir()) == ["card.md", "params.yaml"]
    shutil.rmtree(root / "tmp")
    client = MlflowClient(f"sqlite:///{root}/team.db")
    assert client.get_run(run.id).info.status == "FINISHED"
    assert (root / "mlruns" / run.id / "artifacts/card.md").read_text() == "card"


@pytest.mark.parametrize("moved", [True, False])
def test_a_moved_or_copied_project_finds_its_files(root: Path, tmp_path: Path, monkeypatch, moved: bool) -> None:
    (root / "card.md").write_text("card")
    with tracked_run("train", read_params(), {}) as run:
        run.log_artifact(root / "card.md")
    client, _ = open_store()
    client.create_registered_model("abo-vqa")
    client.create_model_version("abo-vqa", f"{client.get_run(run.id).info.artifact_uri}/card.md", run.id)
    new = tmp_path / "moved_100%"
    monkeypatch.chdir(tmp_path)
    (root.rename if moved else lambda to: shutil.copytree(root, to))(new)
    monkeypatch.chdir(new)
    client, experiment = open_store()
    for found in (
        client.get_experiment(experiment).artifact_location,
        client.get_run(run.id).info.artifact_uri,
        client.get_model_version_download_uri("abo-vqa", "1"),
    ):
        assert found.startswith((new / "mlruns").as_uri()), found
    assert [file.path for file in client.list_artifacts(run.id)] == ["card.md"]
    with tracked_run("train", read_params(), {}) as later:
        later.log_artifact(new / "card.md")
    assert (new / "mlruns" / later.id / "artifacts/card.md").is_file()
    assert root.exists() != moved and not (root / "mlruns" / later.id).exists()


def test_files_that_were_put_elsewhere_on_purpose_stay_there(root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk/mlruns"
    disk.mkdir(parents=True)
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    client.create_experiment(store.EXPERIMENT, artifact_location=disk.as_uri())
    _, experiment = open_store()
    assert client.get_experiment(experiment).artifact_location == disk.as_uri()


def test_what_waits_for_a_server_is_sent_from_a_moved_project(tmp_path: Path, monkeypatch) -> None:
    def post(client, run_id, entry):
        if client.tracking_uri.endswith("gone"):
            raise ConnectionError
        sent.append(Path(entry["artifact"]).read_text())

    sent: list[str] = []
    monkeypatch.setattr(outbox, "post", post)
    monkeypatch.setattr(outbox, "is_outage", lambda error: True)
    (tmp_path / "card.md").write_text("card")
    monkeypatch.chdir(tmp_path)
    Outbox(SimpleNamespace(tracking_uri="http://gone"), "run", tmp_path / "a").send({"artifact": "card.md"})
    (tmp_path / "a").rename(tmp_path / "b")
    outbox.send_folder(SimpleNamespace(tracking_uri="http://back"), tmp_path / "b/run")
    assert sent == ["card"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cr/et@!@host/db", "postgresql://ann:***@host/db"),
        ("at http://ann:secret@host:5000/api: refused", "at http://ann:***@host:5000/api: refused"),
        ("https://t0ken@host/api", "https://***@host/api"),
        ("postgresql://host/db?user=ann&password=secret&sslmode=off", "postgresql://host/db?user=ann&password=***&sslmode=off"),
        ("postgresql://ann@host:5432/db and a@b", "postgresql://ann@host:5432/db and a@b"),
        ("http://host:5000/a b:c", "http://host:5000/a b:c"),
    ],
)  # fmt: skip
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_no_message_and_no_file_has_the_password(root: Path, monkeypatch, capsys) -> None:
    from urllib.parse import quote

    for uri in (f"http://ann:{quote(SECRET, safe='')}@127.0.0.1:9", f"postgresql://ann:{quote(SECRET)}@127.0.0.1:9/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        if uri.startswith("http"):  # MLflow tries to connect to a database for half an hour
            open_store()
        client = SimpleNamespace(tracking_uri=uri)
        monkeypatch.setattr(outbox, "post", lambda *_, uri=uri: (_ for _ in ()).throw(ConnectionError(f"no {uri}")))
        monkeypatch.setattr(outbox, "is_outage", lambda error: True)
        Outbox(client, "run", root / store.UNSENT).send({"tags": {"a": "b"}})  # type: ignore[arg-type]
        said = "".join(capsys.readouterr())
        kept = b"".join(path.read_bytes() for path in (root / store.UNSENT).rglob("*") if path.is_file())
        assert "127.0.0.1" in said and json.loads((root / store.UNSENT / "run/owner.json").read_text())["uri"]
        for secret in (SECRET, quote(SECRET), quote(SECRET, safe="")):
            assert secret not in said and secret.encode() not in kept
        shutil.rmtree(root / store.UNSENT)


def test_a_servers_user_still_gets_in(root: Path, monkeypatch) -> None:
    import os

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:s3cr%2Fet@host:5000/mlflow")
    assert tracking_address(root, root / "mlflow.db") == "https://host:5000/mlflow"
    assert [os.environ[name] for name in VARIABLES[:3]] == ["https://host:5000/mlflow", "ann", "s3cr/et"]


def test_databases_are_told_from_servers() -> None:
    assert is_database("postgresql+psycopg2://host/db") and is_database("sqlite:///a") and not is_database("http://a")
