"""The registered model in a real store: a version for every adapter, and the alias only where the verdict says yes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from abo_vqa.commands.serve import server
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import adapter_folder
from abo_vqa.common.params import Params, check_params, read_params
from abo_vqa.common.tracking.run import tracked_run
from abo_vqa.common.tracking.store import open_store
from abo_vqa.serving.champion import Entry, answers_on, choose_champion
from abo_vqa.serving.registry import adapter_digest, register, register_or_warn, versions
from paths import ROOT
from pretended import compared, options_help, three

YES = {"open": "yes", "options": "yes"}
DVC = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI")


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
    write_files(folder)
    monkeypatch.chdir(folder)
    for name in DVC:
        monkeypatch.delenv(name, raising=False)
    return folder


def write_files(folder: Path) -> None:
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = "models/tiny"
    for name in ("models/tiny", "tables/splits", "reports"):
        (folder / name).mkdir(parents=True)
    YAML().dump(values, folder / "params.yaml")
    (folder / "models/tiny/config.json").write_text("{}")
    (folder / "tables/splits/test.parquet").write_bytes(b"questions")
    for arm in ("standard", "options"):
        write_adapter(folder, arm, arm)
    (folder / "reports/comparison.json").write_text(json.dumps(options_help()))


def write_adapter(folder: Path, arm: str, weights: str) -> None:
    adapter = folder / "models/adapters" / arm
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_text(weights)


def trained(arm: str) -> str:
    """Return a run that is tagged, as the stage train tags its own, with the adapter that is there."""
    with tracked_run(f"train {arm}", read_params(), {"arm": arm}) as run:
        run.tag_output(adapter_folder(arm))
    return run.id


def champion() -> str | None:
    version = open_store()[0].get_registered_model("abo-vqa").aliases.get("champion")
    return None if version is None else str(version)


def under(params: Params, *conditions: str) -> Params:
    return check_params(params.model_dump(by_alias=True) | {"registry": {"champion_under": list(conditions)}})


def entry(arm: str, answers: dict[str, str], accuracy: float, version: str = "7", test_data: str = "same") -> Entry:
    return Entry(arm, version, answers, accuracy, test_data)


def test_an_arm_that_the_verdict_favours_becomes_champion() -> None:
    chosen, said = choose_champion([entry("standard", YES, 0.6), entry("options", YES, 0.7, "8")], None, ["open"])
    assert chosen and chosen.arm == "options"
    assert said == "champion is now version 8 (options arm, 70.0 %): the verdict says yes under `open`"


@pytest.mark.parametrize("answer", ["no", "not shown", "cannot be said, because it is not shown to look at the image"])
def test_no_arm_that_the_verdict_does_not_favour_becomes_champion(answer: str) -> None:
    present = entry("standard", {}, 0.1, "3")
    better = [entry("options", {"open": "yes", "options": answer}, 0.9)]
    assert choose_champion(better, present, ["open"])[0], "under `open` alone it is favoured"
    for conditions in (["open", "options"], ["options"]):
        chosen, said = choose_champion(better, present, conditions)
        assert chosen is None
        assert said == f"champion stays version 3 (standard arm, 10.0 %): options arm under `options`: {answer}"
    chosen, said = choose_champion(better, None, ["options"])
    assert (chosen, said) == (None, f"no champion: options arm under `options`: {answer}")


def test_a_condition_that_is_not_planned_makes_no_champion() -> None:
    chosen, said = choose_champion([entry("options", {"options": "yes"}, 0.9)], None, ["open"])
    assert chosen is None and "options arm under `open`: its difference from base is not planned" in said


def test_only_an_arm_that_is_favoured_counts_however_accurate_another_is() -> None:
    entries = [entry("standard", {"open": "not shown"}, 0.9, "1"), entry("options", YES, 0.7, "2")]
    chosen, _ = choose_champion(entries, None, ["open"])
    assert chosen and chosen.version == "2"


@pytest.mark.parametrize(
    ("present", "moves"),
    [
        (entry("options", {}, 0.80, "3"), False),
        (entry("options", {}, 0.60, "3"), True),
        (entry("options", {}, 0.70, "3"), True),
        (entry("options", {}, 0.80, "3", test_data="other questions"), True),
    ],
)
def test_a_present_champion_stays_if_it_did_better_on_the_same_test_data(present: Entry, moves: bool) -> None:
    chosen, said = choose_champion([entry("standard", YES, 0.7)], present, ["open"])
    assert (chosen is not None) == moves
    assert said.startswith("champion is now version 7" if moves else "champion stays version 3")
    assert ("is less accurate on the same test data under `open`" in said) == (not moves)


def test_answers_are_read_from_the_verdict_checks_included() -> None:
    found = answers_on("options", options_help())
    assert found == dict.fromkeys(("open", "options", "circular", "matched"), "yes")
    assert set(answers_on("standard", options_help()).values()) <= {"not shown", "no"} | {
        "cannot be said, because no gain is shown where the options are as given"
    }
    assert answers_on("rival", options_help()) == {}


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
    run = trained("options")
    client, _ = open_store()
    said = register(options_help(), read_params())
    assert said == [
        "abo-vqa: the standard arm is version 1, new",
        "abo-vqa: the options arm is version 2, new",
        "abo-vqa: champion is now version 2 (options arm, "
        f"{100 * options_help()['results']['options']['open']['total']['accuracy']:.1f} %): "
        "the verdict says yes under `open`",
    ]
    standard, options = versions(client)
    assert (options.run_id, options.status) == (run, "READY")
    made = client.get_run(standard.run_id)
    assert (made.info.run_name, made.info.status) == ("register standard", "FINISHED")
    tags = options.tags
    assert tags["arm"] == "options"
    assert tags["adapter"] == adapter_digest(Path("models/adapters/options"))
    assert tags["dvc.experiment"] == "fuzzy-bear"
    assert len(tags["git_commit"]) == 40 and len(tags["test_data"]) == 64
    for condition, row in options_help()["results"]["options"].items():
        assert float(tags[f"{condition}/accuracy"]) == pytest.approx(row["total"]["accuracy"], abs=1e-6)
    assert tags["open/verdict"] == "yes" and "blind/verdict" not in tags
    accuracy = options_help()["results"]["options"]["options"]["total"]["accuracy"]
    assert f"- `options`: {100 * accuracy:.1f} % right, base " in options.description
    assert "Is that a gain? yes" in options.description and "one training seed" in options.description
    assert client.get_model_version_by_alias("abo-vqa", "champion").version == options.version


def test_the_version_holds_adapter_base_code_and_pinned_requirements(store: Path) -> None:
    register(options_help(), read_params())
    client, _ = open_store()
    folder = Path(client.get_model_version_download_uri("abo-vqa", "2").removeprefix("file://").replace("%20", " "))
    assert (folder / "artifacts/options/adapter_model.safetensors").read_text() == "options"
    assert (folder / "artifacts/tiny/config.json").is_file()
    assert (folder / "code/abo_vqa/inference/prompt_tree.py").is_file()
    assert not list(folder.rglob("__pycache__")) and not list(folder.rglob("*.pkl"))
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    described = (folder / "MLmodel").read_text()
    assert '"name": "image"' in described and '"name": "probabilities"' in described
    example = json.loads((folder / "serving_input_example.json").read_text())
    assert example["dataframe_split"]["columns"] == ["image", "question", "options"]


@pytest.mark.parametrize(
    ("base", "files"),
    [("Intel/llava-gemma-2b", {"options"}), ("models/hub/llava-gemma-2b.json", {"options", "llava-gemma-2b.json"})],
)
def test_a_base_on_the_hub_is_named_and_not_copied(store: Path, base: str, files: set[str]) -> None:
    pin = store / "models/hub/llava-gemma-2b.json"
    pin.parent.mkdir()
    pin.write_text(json.dumps({"id": "Intel/llava-gemma-2b", "commit": "abc"}))
    params = read_params()
    model = params.model.model_copy(update={"base": base})
    register(options_help(), params.model_copy(update={"model": model}))
    client, _ = open_store()
    folder = Path(client.get_model_version_download_uri("abo-vqa", "2").removeprefix("file://").replace("%20", " "))
    assert {path.name for path in (folder / "artifacts").iterdir()} == files
    assert all((folder / "artifacts" / name).read_bytes() == pin.read_bytes() for name in files - {"options"})
    config = YAML(typ="safe", pure=True).load(folder / "MLmodel")["flavors"]["python_function"]["config"]
    assert config["base"] == base


def test_the_same_adapter_with_the_same_results_is_registered_once(store: Path) -> None:
    register(options_help(), read_params())
    said = register(options_help(), read_params())
    assert said[:2] == [
        "abo-vqa: the standard arm is version 1, as before",
        "abo-vqa: the options arm is version 2, as before",
    ]
    assert said[2].startswith("abo-vqa: champion stays version 2")
    assert len(versions(open_store()[0])) == 2
    write_adapter(store, "options", "trained anew")
    (store / "models/adapters/options/README.md").write_text("a card alone changes nothing")
    assert register(options_help(), read_params())[:2] == [said[0], "abo-vqa: the options arm is version 3, new"]


def test_the_same_adapter_with_other_results_is_another_version(store: Path) -> None:
    run = trained("options")
    client, _ = open_store()
    register(options_help(), read_params())
    (store / "tables/splits/test.parquet").write_bytes(b"other questions")
    assert "version 4, new" in register(options_help(), read_params())[1]
    found = versions(client)
    assert [found[1].run_id, found[3].run_id] == [run, run]
    assert len({version.source for version in found}) == 4, "one run holds both and each has its own files"


def test_the_alias_stays_where_it_is_if_no_arm_is_favoured(store: Path) -> None:
    register(options_help(), read_params())
    worse = compared(three(base=0.5, standard=0.5, options=0.5))
    write_adapter(store, "options", "worse")
    said = register(worse, read_params())
    assert (
        said[-1].startswith("abo-vqa: champion stays version 2") and "options arm under `open`: not shown" in said[-1]
    )
    assert champion() == "2" and len(versions(open_store()[0])) == 3, "the standard arm is the one that was there"


def test_no_alias_at_all_if_no_arm_is_favoured(store: Path) -> None:
    said = register(compared(three(base=0.5, standard=0.5, options=0.5)), read_params())
    assert said[-1].startswith("abo-vqa: no champion: standard arm under `open`: not shown; options arm under `open`")
    assert champion() is None


def test_the_alias_moves_to_a_better_one_and_not_back_to_a_worse_one(store: Path) -> None:
    good, better = options_help(), compared(three(base=0.5, standard=0.5, options=0.9))
    register(good, read_params())
    write_adapter(store, "options", "better")
    assert "before: version 2" in register(better, read_params())[-1]
    assert champion() == "3"
    write_adapter(store, "options", "good again")
    assert "champion stays version 3" in register(good, read_params())[-1]
    assert champion() == "3"
    # On other questions accuracies cannot be compared: the arm that is favoured there is taken.
    (store / "tables/splits/test.parquet").write_bytes(b"other questions")
    assert "version 6, new" in register(good, read_params())[1]
    assert champion() == "6"


def test_every_condition_that_is_asked_for_has_to_be_a_gain(store: Path) -> None:
    comparison: dict[str, Any] = deepcopy(options_help())
    for question in comparison["verdict"]["questions"]:
        for part in question["parts"]:
            if part["about"] == "options arm − base" and part["condition"] == "matched":
                part["answer"] = "not shown"
    said = register(comparison, under(read_params(), "open", "matched"))
    assert "options arm under `matched`: not shown" in said[-1] and champion() is None
    register(comparison, under(read_params(), "open", "options"))
    assert champion() == "2"


def test_a_missing_adapter_is_named_before_anything_is_registered(project: Path) -> None:
    (project / "models/adapters/options/adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"options/adapter_model\.safetensors: not found; `dvc repro train`"):
        register(options_help(), read_params())
    assert not (project / "mlflow.db").exists()


def test_a_store_out_of_reach_is_a_warning_that_says_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    register_or_warn(options_help(), read_params())
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
        write_adapter(copy, "options", f"adapter {number % 2}")
        copies.append(copy)
    workers = [run("abo_vqa.serving.stage", folder=copy, DVC_ROOT=str(store)) for copy in copies]
    codes = [worker.wait(300) for worker in workers]
    assert codes == [0] * 4, [(copy / "log").read_text() for copy in copies]
    found = versions(open_store()[0])
    assert sorted(version.tags["arm"] for version in found) == ["options", "options", "standard"]
    assert champion() in {str(version.version) for version in found if version.tags["arm"] == "options"}
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
    assert "champion is now version 2" in register(options_help(), read_params())[-1]
    assert "version 2, as before" in register(options_help(), read_params())[1]
    assert not (project / "mlflow.db").exists() and not (project / "mlruns").exists()
    from mlflow.artifacts import download_artifacts

    fetched = Path(
        download_artifacts("models:/abo-vqa@champion", dst_path=str(tmp_path / "fetched"), tracking_uri=team_server)
    )
    assert next(fetched.rglob("adapter_model.safetensors")).read_text() == "options"
    assert champion() == "2"


def test_serving_without_a_champion_names_the_versions_that_there_are(store: Path) -> None:
    with pytest.raises(InputError, match=r"models:/abo-vqa@champion: .* none is registered: run `dvc repro`"):
        server(None, "127.0.0.1", 5001)
    register(compared(three(base=0.5, standard=0.5, options=0.5)), read_params())
    there = r"there are models:/abo-vqa/1 \(standard arm\), models:/abo-vqa/2 \(options arm\)"
    for wrong in (None, "models:/abo-vqa/3", "models:/abo-vqa@best"):
        with pytest.raises(InputError, match=there):
            server(wrong, "127.0.0.1", 5001)


def test_serving_names_the_store_and_stays_on_loopback(store: Path) -> None:
    register(options_help(), read_params())
    command, environment = server(None, "127.0.0.1", 5005)
    assert command[1:4] == ["-m", "mlflow", "models"]
    assert " ".join(command).endswith("--host 127.0.0.1 --port 5005 --env-manager local")
    assert "models:/abo-vqa@champion" in command
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{store / 'mlflow.db'}"
    assert "models:/abo-vqa/1" in server("models:/abo-vqa/1", "127.0.0.1", 5005)[0]


def test_a_champions_condition_has_to_be_one_that_is_evaluated() -> None:
    with pytest.raises(InputError, match=r"registry\.champion_under: telepathy is not in evaluate\.conditions"):
        under(read_params(ROOT / "params.yaml"), "telepathy")
    with pytest.raises(InputError, match=r"registry\.champion_under: List should have at least 1 item"):
        under(read_params(ROOT / "params.yaml"))
