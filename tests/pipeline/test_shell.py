"""No name of params.yaml reaches a shell as anything but one word, whatever it is made of."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from paths import ROOT
from project import environment

pytestmark = pytest.mark.slow
NAMES = ["x; touch F #", "y'; touch G #", "$(touch H)", "`touch I`", 'z" && touch J "', "a b", "-v"]


def stages(text: str) -> dict[str, str]:
    return {name: stage["cmd"] for name, stage in YAML(typ="safe", pure=True).load(text)["stages"].items()}


def test_an_arms_name_is_one_word_of_its_command(tmp_path: Path) -> None:
    """DVC itself runs the commands of dvc.yaml's matrix; only the program in them is another."""
    found = [cmd for cmd in stages((ROOT / "dvc.yaml").read_text()).values() if "item" in cmd]
    assert len(found) == 2
    pipeline = ["vars:", f"  - run: {sys.executable} say.py", "stages:"]
    for place, cmd in enumerate(found):
        matrix = '{arm: "${arms}", replicate: "${replicates}"}'
        pipeline += [f"  s{place}:", f"    matrix: {matrix}", f"    cmd: {cmd.replace('${run}.', '${run} ')}"]
    (tmp_path / "dvc.yaml").write_text("\n".join(pipeline) + "\n")
    (tmp_path / "params.yaml").write_text(json.dumps({"arms": {name: {} for name in NAMES}, "replicates": [1]}))
    (tmp_path / "say.py").write_text("import json, sys; open('said', 'a').write(json.dumps(sys.argv[2:]) + '\\n')")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    assert sorted(said) == sorted(["--arm", name, "--replicate", "1"] for name in NAMES * 2)
    assert not [path.name for path in tmp_path.iterdir() if len(path.name) == 1]


@pytest.mark.parametrize("stage", ["training", "inference"])
def test_a_stage_takes_what_dvc_gives_it(stage: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for given, says in (
        (["--arm", "x; touch F #", "--replicate", "1"], "x; touch F #-1: no such model"),
        (["--model", "rival-1"], "rival-1: no such model"),
        ([], "give --model, or --arm and --replicate"),
        (["--arm", "options"], "give --model, or --arm and --replicate"),
        (["--model", "base", "--arm", "options", "--replicate", "1"], "give --model, or --arm and --replicate"),
    ):
        command = [sys.executable, "-m", f"abo_vqa.{stage}.stage", *given]
        own = environment() | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
        assert done.returncode and says in done.stderr
