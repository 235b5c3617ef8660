"""Digests change with what decides a result and with nothing else."""

from abo_vqa.common.processor import PORTABLE

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abo_vqa.common.digests import code_digest, code_files, digest, folder_digest, model_identity, package_versions
from abo_vqa.common.errors import InputError
from paths import ROOT

WRITER, TRAINING = "abo_vqa.generators.vlm_writer", "abo_vqa.training.stage"

FILES = {
    "own/__init__.py": '"""Package."""\n',
    "own/start.py": '''"""Start."""

from typing import TYPE_CHECKING

import own.plain
from own.room import inner as other

if TYPE_CHECKING:
    from own.types_only import Something


class Thing:
    """A thing."""

    size = 3

    def grow(self, by: int) -> int:
        """Grow, as data.txt in a docstring does not count."""
        from own.late import step

        return self.size + step(by)
''',
    "own/plain.py": "import json\nVALUE = 1\n",
    "own/late.py": "from . import relative\n\ndef step(by):\n    return relative.VALUE * by\n",
    "own/relative.py": "from .room.deep import VALUE\n",
    "own/types_only.py": "Something = int\n",
    "own/unrelated.py": "import own.start\n",
    "own/data.txt": "not named by code",
    "own/room/__init__.py": "from own import base\n",
    "own/room/inner.py": 'TEMPLATE = "named.jinja"\nELSEWHERE = "data.txt"\n',
    "own/room/named.jinja": "{{ text }}",
    "own/room/unnamed.jinja": "{{ text }}",
    "own/room/deep.py": "VALUE = 2\n",
    "own/base.py": "",
}
CLOSURE = {
    "own/__init__.py", "own/start.py", "own/plain.py", "own/late.py", "own/relative.py", "own/base.py",
    "own/room/__init__.py", "own/room/inner.py", "own/room/named.jinja", "own/room/deep.py",
}  # fmt: skip


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A src folder with a small package."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A copy of the project's code."""
    shutil.copytree(ROOT / "src/abo_vqa", tmp_path / "abo_vqa", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def names(files: list[Path], src: Path) -> set[str]:
    return {path.relative_to(src).as_posix() for path in files}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_closure_of_a_module(own: Path) -> None:
    assert names(code_files("own.start", own), own) == CLOSURE
    assert names(code_files("own.types_only", own), own) == {"own/__init__.py", "own/types_only.py"}
    assert names(code_files("own.unrelated", own), own) == CLOSURE | {"own/unrelated.py"}


def test_what_is_left_out_takes_along_what_only_it_imports(own: Path) -> None:
    left = names(code_files("own.start", own, without=["own.late"]), own)
    assert left == CLOSURE - {"own/late.py", "own/relative.py", "own/room/deep.py"}
    left = names(code_files("own.start", own, without=["own.room"]), own)
    assert left == {name for name in CLOSURE if "room" not in name and name != "own/base.py"}
    # Names are compared by their parts.
    assert names(code_files("own.start", own, without=["own.roo"]), own) == CLOSURE


@pytest.mark.parametrize("name", [name for name in FILES if name != "own/data.txt"])
def test_code_counts_if_it_is_run(own: Path, name: str) -> None:
    before = code_digest("own.start", own)
    with (own / name).open("a") as file:
        file.write("\nADDED = 1\n")
    assert (code_digest("own.start", own) != before) == (name in CLOSURE)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["# a comment", "", "        # 1"])), max_size=6))
def test_comments_and_empty_lines_change_nothing(own: Path, places: list[tuple[int, str]]) -> None:
    start = own / "own/start.py"
    start.write_text(FILES["own/start.py"])
    before = code_digest("own.start", own)
    lines = FILES["own/start.py"].splitlines()
    for place, line in places:
        lines.insert(place, line)
    start.write_text("\n".join(lines) + "\n")
    assert code_digest("own.start", own) == before


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""A thing."""', '"""Another one."""', True),
        ('"""Start."""\n', "", True),
        ("from own.types_only import Something", "import json", True),
        ("return self.size + step(by)", "return (self.size\n                + step(by))", True),
        ("size = 3", "size = 4", False),
        ("self.size + step", "self.size - step", False),
        ("by: int) ", "by: int = 1) ", False),
    ],
)
def test_docstrings_change_nothing_and_constants_do(own: Path, old: str, new: str, same: bool) -> None:
    before = code_digest("own.start", own)
    replace(own / "own/start.py", old, new)
    assert (code_digest("own.start", own) == before) == same


def test_a_moved_module_changes_the_digest(own: Path) -> None:
    before = code_digest("own.start", own)
    (own / "own/plain.py").rename(own / "own/renamed.py")
    replace(own / "own/start.py", "own.plain", "own.renamed")
    assert code_digest("own.start", own) != before


# The project's own code.


def test_swapped_text_and_image_change_the_digest(src: Path) -> None:
    before = {module: code_digest(module, src) for module in (WRITER, TRAINING)}
    image, text = '{"type": "image"}', '{"type": "text", "text": text}'
    replace(src / "abo_vqa/model/base/prompts.py", f"{image}, {text}", f"{text}, {image}")
    for module, known in before.items():
        assert code_digest(module, src) != known


@pytest.mark.parametrize(
    "file", ["common/draws.py", "model/base/prompts.py", "model/families/gemma3.py", "model/families/llava.jinja"]
)
@pytest.mark.parametrize("module", [WRITER, TRAINING])
def test_what_both_depend_on(src: Path, module: str, file: str) -> None:
    before = code_digest(module, src)
    with (src / "abo_vqa" / file).open("a") as added:
        added.write("\nADDED = 1\n")
    assert code_digest(module, src) != before


def test_code_that_cannot_decide_a_result_changes_nothing(src: Path) -> None:
    before = {module: code_digest(module, src) for module in (WRITER, TRAINING)}
    rooms = ("serving", "questions", "report", "comparison", "metrics", "common/tracking", "inference")
    paths = [path for room in rooms for path in (src / "abo_vqa" / room).rglob("*.py")]
    for path in [*paths, src / "abo_vqa/common/params/data.py", src / "abo_vqa/common/params/measure.py"]:
        path.write_text(path.read_text() + "\nADDED = 1\n")
    for path in src.rglob("*.py"):
        path.write_text(path.read_text() + "\n# A comment.\n")
    assert {module: code_digest(module, src) for module in before} == before


# Values, packages and models.


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert len({digest(value) for value in ({"a": 1}, {"a": "1"}, {"a": 1.5}, [1, 2], [2, 1], None, "")}) == 7


def test_package_versions_include_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name in PORTABLE:
        monkeypatch.delenv(name, raising=False)
    assert package_versions(["torch"]) == {"torch": torch.__version__} | dict.fromkeys(PORTABLE, "")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert package_versions(["torch"])["MKL_CBWR"] == "COMPATIBLE"


def test_only_files_that_are_loaded_count(tiny_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    before = model_identity(str(tiny_base), "model.base")
    assert model_identity(str(copy), "model.base") == before == folder_digest(tiny_base)
    (copy / ".cache/huggingface").mkdir(parents=True)
    for name in ("README.md", "USAGE.md", "LICENSE", "LICENSE.txt", ".gitattributes", ".cache/huggingface/lock"):
        (copy / name).write_text("not loaded")
        assert folder_digest(copy) == before, name
    (copy / "chat_template.json").write_text("{}")
    changed = folder_digest(copy)
    assert changed != before
    (copy / "chat_template.json").rename(copy / "added_tokens.json")
    assert folder_digest(copy) not in (before, changed)


def test_a_model_that_is_not_there_is_named_by_its_parameter(tmp_path: Path) -> None:
    for parameter in ("model.base", "generate.vlm.base"):
        with pytest.raises(InputError, match=rf"^{parameter}: there is no folder .*nowhere; "):
            model_identity(str(tmp_path / "nowhere"), parameter)


def test_an_id_on_the_hub_is_identified_by_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import AutoConfig, LlavaConfig

    def from_pretrained(base: str, **others: bool) -> LlavaConfig:
        assert (base, others) == ("somebody/model", {"trust_remote_code": False})
        config = LlavaConfig()
        config._commit_hash = "0123abc"
        return config

    monkeypatch.setattr(AutoConfig, "from_pretrained", from_pretrained)
    assert model_identity("somebody/model", "model.base") == "somebody/model@0123abc"
    pin = tmp_path / "model.json"
    pin.write_text('{"id": "somebody/model", "commit": "4567def"}')
    assert model_identity(str(pin), "model.base") == "somebody/model@4567def"
