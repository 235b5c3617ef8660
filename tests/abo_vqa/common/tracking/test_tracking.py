"""Runs in a real SQLite store: they end, they are found, and parallel workers share one store."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import read_params
from abo_vqa.common.project import project_root
from abo_vqa.common.tracking import run as runs
from abo_vqa.common.tracking.describe import EXPERIMENT_TAGS, by_measure, run_name
from abo_vqa.common.tracking.process import HOST_TAG, PID_TAG, STARTED_TAG, Process, process, this_process
from abo_vqa.common.tracking.run import PARENT_TAG, Run, find_run, flatten_params, pipeline_run, tracked_run
from abo_vqa.common.tracking.store import open_store
from paths import ROOT

PARAMS = ROOT / "params.yaml"

# What a stage does, as a process of its own: a run with a metric, then whatever sys.argv[1] says.
STAGE = f"""
import os, signal, sys
from pathlib import Path
from abo_vqa.common.params import read_params
from abo_vqa.common.runner import run_stage
from abo_vqa.common.tracking.run import pipeline_run, tracked_run

def stage():
    if sys.argv[1] == "whole":
        with pipeline_run("compare", read_params(Path({str(PARAMS)!r}))) as run:
            run.log_metrics({{"options/open/accuracy": 0.5}})
        return
    with tracked_run("train standard", read_params(Path({str(PARAMS)!r})), {{"arm": "standard"}}) as run:
        run.log_metrics({{"loss": 0.5}}, step=1)
        if sys.argv[1] == "raise":
            raise SystemExit(1)
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[1] == "wait":
            print("waiting", flush=True)
            signal.pause()

run_stage("train", stage)
"""


@pytest.fixture
def root(tmp_path, monkeypatch, empty_store) -> Path:
    """The root of a project, with a space in its name, that has a store without our experiment."""
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "params.yaml").write_bytes(PARAMS.read_bytes())
    (folder / "mlflow.db").write_bytes(empty_store)
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def start(how: str, folder: Path, **environ: str) -> "subprocess.Popen[str]":
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environ}
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, how], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
    )


def find(run_id: str):
    return open_store()[0].get_run(run_id)


def test_a_run_holds_parameters_metrics_artifacts_and_tags(root, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train@options")
    monkeypatch.setenv("DVC_EXP_NAME", "fuzzy-bear")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc123")
    adapter = root / "adapter"
    adapter.mkdir()
    (adapter / "weights.bin").write_bytes(b"12")
    curve = root / "curve.csv"
    curve.write_text("step,loss\n")
    with tracked_run("train options", read_params(), {"arm": "options"}) as run:
        run.log_history([{"step": 10, "loss": 1.0, "lr": 0.1}, {"step": 20, "loss": 0.5, "lr": None}])
        run.log_metrics({"options/accuracy": 0.75})
        run.log_artifact(adapter)
        run.log_artifact(curve)

    found = find(run.id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "train options"
    assert found.data.params["train.lora.r"] == "16"
    assert found.data.metrics == {"loss": 0.5, "lr": 0.1, "options/accuracy": 0.75}
    tags = found.data.tags
    assert tags["arm"] == "options"
    assert (tags["dvc.stage"], tags["dvc.experiment"], tags["dvc.baseline"]) == (
        "train@options",
        "fuzzy-bear",
        "abc123",
    )
    client, experiment = open_store()
    history = client.get_metric_history(run.id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 1.0), (20, 0.5)]
    assert (root / "mlruns" / run.id / "artifacts" / "adapter" / "weights.bin").read_bytes() == b"12"
    assert {file.path for file in client.list_artifacts(run.id)} == {"adapter", "curve.csv"}
    assert client.get_experiment(experiment).name == "abo-vqa"


def test_parameters_are_named_and_spelled_as_in_the_file(root):
    flat = flatten_params(read_params())
    assert flat["validate.options"] == "4"
    assert flat["generate.recorded"] == "null"
    assert flat["train.gradient_checkpointing"] == "false"
    assert flat["arms.options.options_first"] == "1.0"
    assert flat["evaluate.conditions.circular.order"] == "rotated"


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), SystemExit(143), KeyboardInterrupt()])
def test_whatever_is_raised_inside_ends_the_run_as_failed_and_keeps_its_metrics(root, error):
    with pytest.raises(type(error)), tracked_run("train", read_params(), {}) as run:
        run.log_metrics({"loss": 2.0})
        raise error
    found = find(run.id)
    assert found.info.status == "FAILED"
    assert found.data.metrics == {"loss": 2.0}


def test_metrics_are_written_in_batches(root, monkeypatch):
    batches = []
    with tracked_run("train", read_params(), {}) as run:
        monkeypatch.setattr(run._client, "log_batch", lambda _, metrics: batches.append(len(metrics)))
        run.log_history([{"step": step, "loss": 1.0} for step in range(2500)])
    assert batches == [1000, 1000, 500]


def test_a_metric_does_not_wait_for_company_for_long(root, monkeypatch):
    monkeypatch.setattr(runs, "_FLUSH_SECONDS", 0.0)
    with tracked_run("train", read_params(), {}) as run:
        run.log_metrics({"loss": 2.0}, step=3)
        assert find(run.id).data.metrics == {"loss": 2.0}


def test_a_killed_process_is_swept_and_a_living_one_is_not(root):
    killed, alive = start("kill", root), start("wait", root)
    try:
        assert killed.wait(60) == -signal.SIGKILL
        assert alive.stdout.readline() == "waiting\n"
        client, experiment = open_store()
        status = {run.data.tags["process.pid"]: run.info.status for run in client.search_runs([experiment])}
        assert status == {str(killed.pid): "KILLED", str(alive.pid): "RUNNING"}
        alive.terminate()
        assert alive.wait(30) == 128 + signal.SIGTERM
        ended = {run.data.tags["process.pid"]: run.info.status for run in client.search_runs([experiment])}
        assert ended[str(alive.pid)] == "FAILED"
    finally:
        alive.kill()


def test_another_hosts_run_is_left_alone(root, monkeypatch):
    client, experiment = open_store()
    tags = {HOST_TAG: "elsewhere", PID_TAG: "999999999", STARTED_TAG: "0"}
    run = client.create_run(experiment, tags=tags)
    assert find(run.info.run_id).info.status == "RUNNING"


@pytest.mark.slow
def test_four_processes_open_a_fresh_store_at_once(root):
    (root / "mlflow.db").unlink()
    workers = [start("finish", root) for _ in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    client, experiment = open_store()
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED"] * 4


def test_the_store_of_a_temporary_experiment_is_the_parents(root, tmp_path, monkeypatch):
    copy = tmp_path / "tmp" / "exp"
    copy.mkdir(parents=True)
    (copy / "params.yaml").write_bytes(PARAMS.read_bytes())
    monkeypatch.chdir(copy)
    assert project_root() == copy
    monkeypatch.setenv("DVC_ROOT", str(root))
    with tracked_run("train", read_params(), {}) as run:
        (copy / "card.md").write_text("card")
        run.log_artifact(copy / "card.md")
    assert (root / "mlruns" / run.id / "artifacts" / "card.md").is_file()
    assert sorted(path.name for path in copy.iterdir()) == ["card.md", "params.yaml"]


def test_the_root_is_found_from_below(root, monkeypatch):
    (root / "src").mkdir()
    monkeypatch.chdir(root / "src")
    assert project_root() == root


def test_a_bare_mlflow_at_the_root_finds_the_runs(root):
    with tracked_run("train", read_params(), {}) as run:
        run.log_metrics({"loss": 1.0})
    bare = "import mlflow; print(*mlflow.search_runs(experiment_names=['abo-vqa']).run_id)"
    shown = subprocess.run([sys.executable, "-c", bare], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [run.id]


def test_a_given_tracking_uri_is_used(root, tmp_path, monkeypatch):
    elsewhere = tmp_path / "team.db"
    elsewhere.write_bytes((root / "mlflow.db").read_bytes())
    before = (root / "mlflow.db").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    with tracked_run("train", read_params(), {}) as run:
        run.log_metrics({"loss": 1.0})
    assert find(run.id).info.status == "FINISHED"
    assert (root / "mlflow.db").read_bytes() == before


def test_a_deleted_experiment_is_restored(root):
    client, experiment = open_store()
    client.delete_experiment(experiment)
    with tracked_run("train", read_params(), {}) as run:
        pass
    assert isinstance(run, Run)
    assert find(run.id).info.experiment_id == experiment


def test_a_store_that_cannot_be_opened_is_named(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    with pytest.raises(InputError, match=r"file:\./mlruns cannot be opened"):
        open_store()


def test_importing_the_module_does_not_import_mlflow():
    code = "import sys, abo_vqa.common.tracking.run, abo_vqa.common.tracking.store; sys.exit('mlflow' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environ).returncode == 0


def under_dvc(how: str, folder: Path, stage: str, **more: str) -> int:
    """Run a stage as DVC would, this test in DVC's place; return its exit status."""
    return start(how, folder, DVC_STAGE=stage, **more).wait(120)


def by_name() -> dict[str, Any]:
    client, experiment = open_store()
    return {run.info.run_name: run for run in client.search_runs([experiment])}


def test_the_stages_of_one_execution_are_children_of_one_run(root):
    assert under_dvc("finish", root, "train@standard-1", DVC_EXP_NAME="fuzzy-bear", DVC_EXP_BASELINE_REV="abc123") == 0
    assert under_dvc("finish", root, "train@standard-2", DVC_EXP_NAME="fuzzy-bear", DVC_EXP_BASELINE_REV="abc123") == 0
    client, experiment = open_store()
    found = client.search_runs([experiment])
    parents = [run for run in found if PARENT_TAG not in run.data.tags]
    assert [(run.info.run_name, run.info.status) for run in parents] == [("fuzzy-bear", "FINISHED")]
    assert parents[0].data.params["train.lora.r"] == "16"
    assert parents[0].data.tags["dvc.baseline"] == "abc123"
    [arm] = [run for run in found if run.data.tags.get(PARENT_TAG) == parents[0].info.run_id]
    assert (arm.info.run_name, arm.info.status) == ("standard arm", "FINISHED"), "both trainings are this arm's"
    children = [run for run in found if run not in (parents[0], arm)]
    assert {run.data.tags[PARENT_TAG] for run in children} == {arm.info.run_id}
    assert sorted(run.data.tags["dvc.stage"] for run in children) == ["train@standard-1", "train@standard-2"]


def test_dvc_processes_side_by_side_share_one_execution(root, monkeypatch):
    monkeypatch.setenv("ABO_VQA_PIPELINE", str(os.getpid()))
    running = [start("finish", root, DVC_STAGE=f"train@standard-{seed}") for seed in (1, 2)]
    assert [process.wait(120) for process in running] == [0, 0]
    client, experiment = open_store()
    found = client.search_runs([experiment])
    names = sorted(run.info.run_name for run in found)
    assert names[0].startswith("dvc repro") and names[1:] == ["standard arm", "train standard", "train standard"]
    assert {run.info.status for run in found} == {"FINISHED"}


def test_an_execution_has_failed_once_a_stage_has(root):
    assert under_dvc("raise", root, "train@standard", DVC_EXP_NAME="fuzzy-bear") == 1
    assert by_name()["fuzzy-bear"].info.status == "FAILED"
    assert under_dvc("finish", root, "train@options", DVC_EXP_NAME="fuzzy-bear") == 0
    assert by_name()["fuzzy-bear"].info.status == "FAILED"
    assert by_name()["fuzzy-bear"].data.tags["dvc.failed"] == "train@standard"


def test_an_execution_does_not_stay_running_when_a_stage_is_killed(root):
    assert under_dvc("finish", root, "train@standard", DVC_EXP_NAME="fuzzy-bear") == 0
    assert under_dvc("kill", root, "train@options", DVC_EXP_NAME="fuzzy-bear") == -signal.SIGKILL
    assert by_name()["fuzzy-bear"].info.status == "KILLED"


def test_an_execution_runs_while_its_second_stage_does(root):
    assert under_dvc("finish", root, "train@standard", DVC_EXP_NAME="fuzzy-bear") == 0
    waiting = start("wait", root, DVC_STAGE="train@options", DVC_EXP_NAME="fuzzy-bear")
    try:
        assert waiting.stdout.readline() == "waiting\n"
        assert by_name()["fuzzy-bear"].info.status == "RUNNING"
    finally:
        waiting.terminate()
    assert waiting.wait(30) == 128 + signal.SIGTERM
    assert by_name()["fuzzy-bear"].info.status == "FAILED"


def test_what_belongs_to_the_whole_execution_is_logged_to_its_run(root):
    assert under_dvc("finish", root, "train@standard", DVC_EXP_NAME="fuzzy-bear") == 0
    assert under_dvc("whole", root, "compare", DVC_EXP_NAME="fuzzy-bear") == 0
    found = by_name()
    assert found.keys() == {"fuzzy-bear", "standard arm", "train standard"}
    assert found["fuzzy-bear"].data.metrics == {"options/open/accuracy": 0.5}


def test_without_dvc_it_is_a_run_of_its_own(root):
    with pipeline_run("compare", read_params()) as run:
        run.log_metrics({"options/open/accuracy": 0.5})
    assert by_name().keys() == {"compare"}


def test_the_experiment_opens_on_its_runs_and_is_described(root):
    client, experiment = open_store()
    assert EXPERIMENT_TAGS.items() <= client.get_experiment(experiment).tags.items()
    client.set_experiment_tag(experiment, "mlflow.note.content", "ours")
    client.delete_experiment_tag(experiment, "mlflow.experimentKind")  # a store of an earlier version
    open_store()
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.note.content"] == "ours", "what a person has written stays"
    assert tags["mlflow.experimentKind"] == "custom_model_development"


@pytest.mark.parametrize(
    ("name", "what", "shown"),
    [
        ("options-2", "", "options · seed 2"),
        ("standard-1", "test", "standard · seed 1 · test"),
        ("base", "test", "base · test"),
    ],
)
def test_runs_are_named_by_arm_and_seed(name, what, shown):
    assert run_name(name, read_params(ROOT / "params.yaml"), what) == shown


def test_metrics_are_named_by_measure_first():
    assert by_measure("open/accuracy") == "accuracy/open"
    assert by_measure("open/blank/accuracy") == "accuracy_blank/open"
    assert by_measure("validation/accuracy") == "accuracy/validation"


def test_what_was_read_is_a_dataset_with_dvcs_hash(root):
    table = root / "test.parquet"
    table.write_bytes(b"questions")
    with tracked_run("evaluate base", read_params(), {}) as run:
        run.log_dataset(table, "evaluation", 3)
    found = find(run.id)
    (given,) = found.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("test", hashlib.md5(b"questions").hexdigest())
    assert json.loads(given.dataset.profile) == {"num_rows": 3}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "evaluation")]
    assert found.data.tags["data.test"] == given.dataset.digest


def test_system_metrics_are_logged_meanwhile(root, monkeypatch):
    monkeypatch.setattr(runs, "_SYSTEM_SECONDS", 0.1)
    with tracked_run("train", read_params(), {}) as run:
        time.sleep(1)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= find(
        run.id
    ).data.metrics.keys()


def test_the_gpus_metrics_are_logged_where_the_driver_tells_them(root, monkeypatch):
    import pynvml

    memory, load = SimpleNamespace(used=3e9, total=16e9), SimpleNamespace(gpu=87)
    answers = {
        "nvmlInit": None, "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "card",
        "nvmlDeviceGetMemoryInfo": memory, "nvmlDeviceGetUtilizationRates": load,
        "nvmlDeviceGetPowerUsage": 60_000, "nvmlDeviceGetEnforcedPowerLimit": 70_000,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(runs, "_SYSTEM_SECONDS", 0.1)
    with tracked_run("train", read_params(), {}) as run:
        time.sleep(1)
    logged = find(run.id).data.metrics
    assert logged["system/gpu_0_memory_usage_megabytes"] == pytest.approx(3000)
    assert logged["system/gpu_0_utilization_percentage"] == 87


def test_a_run_is_found_by_what_it_made(root):
    adapter = Path("adapters/options")
    adapter.mkdir(parents=True)
    ids = []
    for weights in ("first", "second", "first"):
        (adapter / "weights").write_text(weights)
        with tracked_run("train options", read_params(), {}) as trained:
            trained.log_metrics({"loss": 0.5})
            trained.tag_output(adapter)
        ids.append(trained.id)
    found = find_run(adapter)
    assert found is not None and found.id == ids[2], "the newest of two with the same bytes"
    found.log_metrics({"options/accuracy": 0.75})
    found.flush()
    assert find(ids[2]).data.metrics == {"loss": 0.5, "options/accuracy": 0.75}
    assert find(ids[2]).info.status == "FINISHED"
    (adapter / "weights").write_text("second")
    again = find_run(adapter)
    assert again is not None and again.id == ids[1]
    (adapter / "weights").write_text("made elsewhere")
    assert find_run(adapter) is None
    (adapter / "weights").write_text("first")
    assert find_run(adapter.rename("adapters/standard")) is None


def test_a_process_is_not_taken_for_another_with_its_number():
    me = this_process()
    boot, ticks = me.started.split("/")
    assert me.is_alive()
    assert not Process(me.pid, f"{boot}/{int(ticks) - 1}").is_alive()
    assert not Process(me.pid, f"another-boot/{ticks}").is_alive()


def test_a_process_lives_on_when_the_clock_is_set(monkeypatch):
    """The system derives starting times from the clock: set forward by an hour, all processes began an hour later."""
    import psutil

    known, began, booted = this_process(), psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: began(self) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: booted() + 3600)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600)
    assert known.is_alive() and this_process() == known


def test_a_process_that_has_ended_is_not_alive_before_its_parent_asks():
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE)
    known = process(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert known is not None and not known.is_alive()
    child.wait()
    assert not known.is_alive() and process(child.pid) is None


KILLED_WHILE_IT_CREATES = """
import os, signal
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from abo_vqa.common.tracking.store import open_store

def until_killed(self, cursor, statement, *others):
    execute(self, cursor, statement, *others)
    if statement.lstrip().startswith("CREATE TABLE review_queues"):
        os.kill(os.getpid(), signal.SIGKILL)

execute, SQLiteDialect.do_execute = SQLiteDialect.do_execute, until_killed
open_store()
"""


def test_a_store_whose_creation_was_killed_is_created_again(root: Path) -> None:
    (root / "mlflow.db").unlink()
    path = os.pathsep.join(sys.path)
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_CREATES], env=os.environ | {"PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    assert open_store()[1]
    assert not list(root.glob(".mlflow.db*")), "nothing is left"
