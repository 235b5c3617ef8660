"""Runs in a real PostgreSQL, as installed by Debian's package; skipped where it or its driver is missing."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import read_params
from abo_vqa.common.tracking.run import find_run, tracked_run
from abo_vqa.common.tracking.store import open_store
from paths import ROOT
from serving import free_port

pytestmark = pytest.mark.slow
PASSWORD = "s3cr/et@!"


def program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL; Debian's package does not put all of them on PATH."""
    found = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next((path for path in found if path), None)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address, with its password, of a database server that this test starts."""
    pytest.importorskip("psycopg", reason="SQLAlchemy's driver for PostgreSQL is not installed: psycopg[binary]")
    initdb, server = program("initdb"), program("postgres")
    if not initdb or not server:
        pytest.skip("PostgreSQL is not installed (Debian: the package postgresql)")
    folder, port = Path(tempfile.mkdtemp()), free_port()  # pytest's folders are closed to other users
    (folder / "password").write_text(PASSWORD)
    as_user: dict[str, int] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("nobody")
        as_user = {"user": user.pw_uid, "group": user.pw_gid}
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    data = folder / "data"
    made = [initdb, "-D", data, "-U", "ann", "--auth", "scram-sha-256", "--pwfile", folder / "password", "-E", "UTF8"]
    done = subprocess.run([*made, "--locale", "C"], capture_output=True, text=True, cwd=folder, **as_user)
    if done.returncode:
        shutil.rmtree(folder)
        pytest.skip(f"PostgreSQL makes no database here: {done.stderr.strip()[-200:]}")
    options = ["-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, *options], stdout=log, stderr=log, cwd=folder, **as_user)
    try:
        import psycopg

        for _ in range(100):
            try:
                psycopg.connect(f"host=127.0.0.1 port={port} user=ann password={PASSWORD} dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, (folder / "log").read_text()
                process_wait(process)
        yield f"postgresql://ann:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # without waiting for MLflow's open connections
        process.wait(30)
        shutil.rmtree(folder)


def process_wait(process: "subprocess.Popen[bytes]") -> None:
    """Wait a moment, or until it ends."""
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return


def test_runs_in_postgresql(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "card.md").write_text("card")
    for name in ("DVC_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.chdir(tmp_path)
    with tracked_run("train", read_params(), {"arm": "options"}) as run:
        run.log_metrics({"loss": 0.5}, step=1)
        run.log_artifact(Path("card.md"))
        run.tag_output(Path("card.md"))
    with pytest.raises(RuntimeError), tracked_run("train", read_params(), {}) as failed:
        raise RuntimeError
    client, experiment = open_store()
    found = client.get_run(run.id)
    assert (found.info.status, client.get_run(failed.id).info.status) == ("FINISHED", "FAILED")
    assert found.data.metrics["loss"] == 0.5 and found.data.params["train.lora.r"] == "16"
    assert (tmp_path / "mlruns" / run.id / "artifacts/card.md").read_text() == "card"
    again = find_run(Path("card.md"))
    assert again is not None and again.id == run.id
    gone = client.create_run(experiment, tags=found.data.tags | {"process.started": "0"})
    assert client.get_run(gone.info.run_id).info.status == "RUNNING"
    assert open_store()[0].get_run(gone.info.run_id).info.status == "KILLED"


def test_a_missing_driver_is_named_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:secret@127.0.0.1:1/runs")
    with pytest.raises(InputError, match=r"postgresql://ann:\*\*\*@.* needs a package that is not installed") as error:
        open_store()
    assert "secret" not in str(error.value)
