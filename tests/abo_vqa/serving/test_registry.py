"""The registered model in a real store: a version of every arm, and an alias that moves only when asked."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from abo_vqa.commands.serve import server
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import adapter_folder
from abo_vqa.common.params import Params, check_params, read_params
from abo_vqa.common.tracking.run import Run, tracked_run
from abo_vqa.common.tracking.store import open_store
from abo_vqa.serving.registry import MODEL, TESTED, register, register_or_warn, versions
from abo_vqa.serving.result import adapter_digest
from paths import ROOT
from registered import (
    answered,
    comparison,
    use_these_words,
    write_adapter,
    write_outcome,
    write_predictions,
    write_results,
)

DVC = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI")
KNOWS = {"base": 0.5, "standard": 0.5, "options": 0.8}
NOBODY = {"standard": "not shown", "options": "not shown"}
NOT_ASKED = "abo-vqa: the alias champion is left as it is; to let it move: abo-vqa register --promote"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A fresh store's database, made once: creating its tables takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project after its stage compare, with adapters and a base that nobody opens."""
    folder = tmp_path / "a project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = "models/tiny"
    YAML().dump(values, folder / "params.yaml")
    for name in ("models/tiny", "tables/splits", "reports"):
        (folder / name).mkdir(parents=True)
    (folder / "models/tiny/config.json").write_text("{}")
    (folder / "tables/splits/test.parquet").write_bytes(b"questions")
    write_results(KNOWS)
    (folder / "reports/comparison.json").write_text(json.dumps(comparison()))
    for name in DVC:
        monkeypatch.delenv(name, raising=False)
    use_these_words(monkeypatch)
    return folder


def trained(run_name: str) -> str:
    """Return a run that is tagged, as the stage train tags its own, with the adapter that is there."""
    with tracked_run(f"train {run_name}", read_params(), {"arm": run_name}) as run:
        run.tag_output(adapter_folder(run_name))
    return run.id


def champion() -> str | None:
    version = open_store()[0].get_registered_model(MODEL).aliases.get("champion")
    return None if version is None else str(version)


def changed(params: Params, **registry: object) -> Params:
    values = params.model_dump(by_alias=True)
    return check_params(values | {"registry": values["registry"] | registry})


def promote(**answers: str) -> str:
    """Register what is there and let the alias move; return why it did or did not."""
    return register(comparison(**answers), read_params(), promote=True)[-1].removeprefix("abo-vqa: ")


def files_of(version: str) -> Path:
    uri = open_store()[0].get_model_version_download_uri(MODEL, version)
    return Path(uri.removeprefix("file://").replace("%20", " "))


@pytest.fixture
def store(project: Path, template: bytes) -> Path:
    """The project with a store."""
    (project / "mlflow.db").write_bytes(template)
    return project


def test_every_arm_is_a_version_with_what_is_known_about_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "fuzzy-bear")
    subprocess.run(
        "git init -q && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x", shell=True, check=True
    )
    run = trained("options-2")
    client, experiment = open_store()
    scored = client.create_run(experiment, run_name="score options-2").info.run_id
    Run(client, scored).log_model("options-2", {"open/accuracy": 0.5}, {"model": "options-2"})
    assert register(comparison(), read_params()) == [
        "abo-vqa: the standard arm (standard-1, validation 60.0 %) is version 1, new: result 1 on this test set",
        "abo-vqa: the options arm (options-2, validation 75.0 %) is version 2, new: result 2 on this test set",
        NOT_ASKED,
    ]
    standard, options = versions(client)
    assert (options.run_id, options.status) == (run, "READY")
    [logged] = client.search_logged_models([experiment])
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "abo-vqa", "version": "2"}]
    made = client.get_run(standard.run_id)
    assert (made.info.run_name, made.info.status) == ("register standard-1", "FINISHED")
    tags = options.tags
    assert (tags["arm"], tags["replicate"], tags["validation/accuracy"]) == ("options", "options-2", "0.750000")
    assert tags["adapter"] == adapter_digest(Path("models/adapters/options-2"))
    assert tags["dvc.experiment"] == "fuzzy-bear"
    assert len(tags["git_commit"]) == 40 and len(tags["test_data"]) == 64
    for condition, accuracy in comparison()["by_run"]["options-2"].items():
        assert float(tags[f"{condition}/accuracy"]) == pytest.approx(accuracy, abs=1e-6), "of this training run"
        assert re.search(rf"\| `{condition}` +\| +{100 * accuracy:.1f} % \|", options.description)
    assert tags["open/verdict"] == "yes" and tags["open/asked"] == '{"options":"none"}'
    assert re.search(r"\| `open` .*\| yes +\|", options.description)
    assert "of 3 training runs the best by validation" in options.description
    assert "This is result 2 registered on this test set" in options.description
    assert champion() is None


def test_the_version_holds_adapter_base_code_predictions_and_pinned_requirements(store: Path) -> None:
    register(comparison(), read_params())
    folder = files_of("2")
    assert (folder / "artifacts/options-2/adapter_model.safetensors").read_text() == "options-2"
    assert (folder / "artifacts/tiny/config.json").is_file()
    assert (folder / "code/abo_vqa/inference/prompt_tree/scorer.py").is_file()
    assert not list(folder.rglob("__pycache__")) and not list(folder.rglob("*.pkl"))
    kept, ours = (pd.read_parquet(path) for path in (folder / TESTED, "tables/predictions/options-2.parquet"))
    assert list(kept) == ["qa_id", "image_id", "image_group", "condition", "correct"]
    assert kept.equals(ours[list(kept)])
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    described = (folder / "MLmodel").read_text()
    assert '"name": "image"' in described and '"name": "probabilities"' in described
    example = json.loads((folder / "serving_input_example.json").read_text())
    assert example["dataframe_split"]["columns"] == ["image", "question", "options"]


@pytest.mark.parametrize(
    ("base", "files"),
    [("Intel/llava-gemma-2b", {"options-2"}), ("models/hub/llava-gemma-2b.json", {"options-2", "llava-gemma-2b.json"})],
)
def test_a_base_on_the_hub_is_named_and_not_copied(store: Path, base: str, files: set[str]) -> None:
    pin = store / "models/hub/llava-gemma-2b.json"
    pin.parent.mkdir()
    pin.write_text(json.dumps({"id": "Intel/llava-gemma-2b", "commit": "abc"}))
    params = read_params()
    model = params.model.model_copy(update={"base": base})
    register(comparison(), params.model_copy(update={"model": model}))
    folder = files_of("2")
    assert {path.name for path in (folder / "artifacts").iterdir()} == files
    assert all((folder / "artifacts" / name).read_bytes() == pin.read_bytes() for name in files - {"options-2"})
    config = YAML(typ="safe", pure=True).load(folder / "MLmodel")["flavors"]["python_function"]["config"]
    assert config["base"] == base


def test_the_same_adapter_with_the_same_results_is_registered_once(store: Path) -> None:
    register(comparison(), read_params())
    said = register(comparison(), read_params())
    assert said[0].endswith("is version 1, as before: result 1 on this test set")
    assert said[1].endswith("is version 2, as before: result 2 on this test set")
    assert len(versions(open_store()[0])) == 2
    write_adapter("options-2", "trained anew")
    (store / "models/adapters/options-2/README.md").write_text("a card alone changes nothing")
    anew = register(comparison(), read_params())
    assert anew[0] == said[0] and anew[1].endswith("is version 3, new: result 3 on this test set")


def test_the_same_adapter_with_other_results_is_another_version(store: Path) -> None:
    run = trained("options-2")
    client, _ = open_store()
    register(comparison(), read_params())
    (store / "tables/splits/test.parquet").write_bytes(b"other questions")
    said = register(comparison(), read_params())[1]
    assert said.endswith("version 4, new: result 2 on this test set"), "tried on the other questions once before"
    found = versions(client)
    assert [found[1].run_id, found[3].run_id] == [run, run]
    assert len({version.source for version in found}) == 4, "one run holds both and each has its own files"


def test_without_validation_the_first_training_run_is_registered_and_says_so(store: Path) -> None:
    for seed in (1, 2, 3):
        write_outcome(f"options-{seed}", None)
    assert "the options arm (options-1, without validation)" in register(comparison(), read_params())[1]
    version = versions(open_store()[0])[1]
    assert "of 3 training runs the first; there was no validation" in version.description
    assert version.tags["replicate"] == "options-1" and "validation/accuracy" not in version.tags


def test_the_alias_moves_only_when_asked(store: Path) -> None:
    better = comparison()
    for _ in range(2):
        assert register(better, read_params())[-1] == NOT_ASKED
        assert champion() is None
    assert register(better, changed(read_params(), promote=True))[-1].startswith("abo-vqa: champion is now version 2")
    assert champion() == "2"
    write_predictions("options-2", answered(1.0))
    write_adapter("options-2", "perfect")
    assert register(comparison(), read_params())[-1] == NOT_ASKED
    assert champion() == "2", "a better one alone does not move it"


def test_the_command_promotes_when_asked(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from abo_vqa.commands.register import main

    main()
    assert capsys.readouterr().out.endswith(f"{NOT_ASKED}\n") and champion() is None
    main(promote=True)
    assert "champion is now version 2 (options-2)" in capsys.readouterr().out and champion() == "2"


def test_a_better_one_takes_the_alias_from_the_champion_and_keeps_it(store: Path) -> None:
    assert promote() == "champion is now version 2 (options-2): the verdict says yes under `open`"
    assert promote() == "champion stays version 2 (options-2): it is the candidate"
    write_predictions("options-2", answered(0.95))
    write_adapter("options-2", "better")
    assert promote().startswith("champion is now version 3 (options-2): better than version 2 (options-2), +")
    assert promote() == "champion stays version 3 (options-2): it is the candidate"
    write_results(KNOWS)
    assert promote().startswith("champion stays version 3 (options-2): version 2 (options-2) is worse, -")
    assert champion() == "3"


def test_an_exact_tie_and_a_bit_of_luck_do_not_move_the_alias(store: Path) -> None:
    promote()
    write_adapter("options-2", "as good")
    assert "version 3 (options-2) ties with it" in promote()
    table = answered(KNOWS["options"], 12)
    table.loc[table.index[~table["correct"]][:2], "correct"] = True
    write_predictions("options-2", table)
    assert "version 4 (options-2) is not shown to be better, +0.7 points" in promote()
    assert champion() == "2"


def test_other_test_data_do_not_move_the_alias_however_high_the_accuracy(store: Path) -> None:
    write_predictions("options-2", answered(0.55))
    promote()
    (store / "tables/splits/test.parquet").write_bytes(b"other questions")
    write_predictions("options-2", answered(0.9))
    said = promote()
    assert said.startswith("champion stays version 2 (options-2): version 4 (options-2) cannot be tested against it")
    assert "because it was tested on other test data" in said and champion() == "2"
    # What the line advises.
    open_store()[0].delete_registered_model_alias(MODEL, "champion")
    assert promote().startswith("champion is now version 4")


def test_an_easier_condition_of_the_same_name_does_not_move_the_alias(store: Path) -> None:
    promote()
    write_predictions("options-2", answered(0.95))
    values = read_params().model_dump(by_alias=True)
    values["evaluate"]["conditions"]["open"] = {"options": "given", "count": 2}
    said = register(comparison(), check_params(values), promote=True)[-1]
    assert "cannot be tested against it, because it was tested on other test data" in said and champion() == "2"


def test_a_champion_made_by_hand_stays(store: Path) -> None:
    register(comparison(), read_params())
    client, _ = open_store()
    client.create_model_version(MODEL, str(store), description="by hand")
    client.set_registered_model_alias(MODEL, "champion", "3")
    said = promote()
    assert said.startswith("champion stays version 3 (made by hand): version 2 (options-2) cannot be tested against it")
    assert "because its test data are unknown" in said and champion() == "3"


@pytest.mark.parametrize("damage", ["lost", "broken", "without a column"])
def test_a_champion_whose_predictions_cannot_be_read_stays(store: Path, damage: str) -> None:
    promote()
    kept = files_of("2") / TESTED
    if damage == "lost":
        kept.unlink()
    elif damage == "broken":
        kept.write_bytes(b"PAR1")
    else:
        pd.read_parquet(kept).drop(columns="correct").to_parquet(kept)
    write_predictions("options-2", answered(1.0))
    assert "because its predictions cannot be read from the store" in promote() and champion() == "2"


def test_no_alias_at_all_if_no_arm_is_favored(store: Path) -> None:
    assert promote(answers=NOBODY) == (
        "no champion: standard arm under `open`: not shown; options arm under `open`: not shown"
    )
    assert champion() is None


def test_a_verdict_that_cannot_be_said_does_not_move_the_alias(store: Path) -> None:
    assert "options arm under `open`: unsaid (because of no_counterpart)" in promote(open="unsaid")
    assert champion() is None
    assert versions(open_store()[0])[1].tags["open/reasons"] == "no_counterpart"


def test_every_condition_that_is_asked_for_has_to_be_a_gain(store: Path) -> None:
    both = changed(read_params(), champion_under=["open", "options"])
    said = register(comparison(options="not shown"), both, promote=True)
    assert "options arm under `options`: not shown" in said[-1] and champion() is None
    register(comparison(), both, promote=True)
    assert champion() == "3", "another verdict is another result"


def test_a_missing_adapter_is_named_before_anything_is_registered(project: Path) -> None:
    (project / "models/adapters/options-2/adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"options-2/adapter_model\.safetensors: not found; `dvc repro train`"):
        register(comparison(), read_params())
    assert not (project / "mlflow.db").exists()


def test_a_store_out_of_reach_is_a_warning_that_says_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    register_or_warn(comparison(), read_params())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("abo-vqa registry: warning: the adapters are not registered as versions of 'abo-vqa': ")
    assert "127.0.0.1" in err and err.endswith("To register them later: abo-vqa register\n")


def run(*arguments: str, folder: Path, **more: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), **more}
    # A file, since nobody reads what a server says.
    log = (folder / "log").open("w")
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, text=True)


@pytest.mark.slow
def test_four_workers_that_register_at_once_make_one_model_and_no_version_twice(store: Path, tmp_path: Path) -> None:
    # Two experiments, each by two workers, in folders of their own with the project's store.
    copies = []
    for number in range(4):
        copy = tmp_path / f"experiment {number}"
        shutil.copytree(store, copy, ignore=shutil.ignore_patterns("mlflow.db*", "mlruns"))
        (copy / "models/adapters/options-2/adapter_model.safetensors").write_text(f"adapter {number % 2}")
        copies.append(copy)
    workers = [run("abo_vqa.serving.stage", folder=copy, DVC_ROOT=str(store)) for copy in copies]
    codes = [worker.wait(300) for worker in workers]
    assert codes == [0] * 4, [(copy / "log").read_text() for copy in copies]
    found = versions(open_store()[0])
    assert sorted(version.tags["arm"] for version in found) == ["options", "options", "standard"]
    assert sorted(version.tags["tried_on_test_data"] for version in found) == ["1", "2", "3"]
    assert champion() is None
    assert not any((copy / "mlflow.db").exists() for copy in copies)
    # What DVC keeps tells the experiments apart, and is the same whichever worker was first.
    written = [(copy / "reports/registered.json").read_bytes() for copy in copies]
    assert written[0] == written[2] != written[1] == written[3]


@pytest.fixture
def team_server(tmp_path: Path) -> Iterator[str]:
    """A tracking server of its own that keeps the artifacts, as a team has one."""
    from serving import free_port, wait_for

    port = free_port()
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/team.db", "--artifacts-destination", f"{tmp_path}/kept"]
    process = run(*command, folder=tmp_path, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    try:
        wait_for(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_team_server_takes_versions_alias_and_files(
    project: Path, team_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team_server)
    assert promote().startswith("champion is now version 2")
    assert "version 2, as before" in register(comparison(), read_params())[1]
    assert not (project / "mlflow.db").exists() and not (project / "mlruns").exists()
    from mlflow.artifacts import download_artifacts

    fetched = Path(
        download_artifacts("models:/abo-vqa@champion", dst_path=str(tmp_path / "fetched"), tracking_uri=team_server)
    )
    assert next(fetched.rglob("adapter_model.safetensors")).read_text() == "options-2"
    write_predictions("options-2", answered(0.95))
    assert promote().startswith("champion is now version 3 (options-2): better than version 2"), "asked over HTTP"


def test_serving_without_a_champion_names_the_versions_that_there_are(store: Path) -> None:
    with pytest.raises(InputError, match=r"models:/abo-vqa@champion: .* none is registered: run `dvc repro`"):
        server(None, "127.0.0.1", 5001)
    register(comparison(), read_params())
    there = (
        r"there are models:/abo-vqa/1 \(standard arm\), models:/abo-vqa/2 \(options arm\); `abo-vqa register --promote`"
    )
    for wrong in (None, "models:/abo-vqa/3", "models:/abo-vqa@best"):
        with pytest.raises(InputError, match=there):
            server(wrong, "127.0.0.1", 5001)


def test_serving_names_the_store_and_stays_on_loopback(store: Path) -> None:
    promote()
    command, environment = server(None, "127.0.0.1", 5005)
    assert command[1:5] == ["-m", "abo_server", "--model-uri", "models:/abo-vqa@champion"]
    assert " ".join(command).endswith("--host 127.0.0.1 --port 5005")
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{store / 'mlflow.db'}"
    assert "models:/abo-vqa/1" in server("models:/abo-vqa/1", "127.0.0.1", 5005)[0]


def test_a_champions_condition_has_to_be_one_that_is_evaluated() -> None:
    with pytest.raises(InputError, match=r"registry\.champion_under: telepathy is not in evaluate\.conditions"):
        changed(read_params(ROOT / "params.yaml"), champion_under=["telepathy"])
    with pytest.raises(InputError, match=r"registry\.champion_under: List should have at least 1 item"):
        changed(read_params(ROOT / "params.yaml"), champion_under=[])
