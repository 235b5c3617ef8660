"""The README and the pages under docs/tasks/ are run: every ```sh block, in order, a page in a fresh clone.

A block whose first line has a comment such as `# needs a GPU` or `# takes an hour` is skipped for that reason. A
```text block right below a block is what the command says: its lines have to be in the output, in that order; any
number stands for any other.
A command that ends in ` &` runs until its page is done.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from paths import ROOT
from project import copy_project, environment

pytestmark = pytest.mark.slow

PAGES = sorted((ROOT / "docs/tasks").glob("*.md"))
RUN = [ROOT / "README.md", *PAGES]
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"[^\n]*# ((?:needs|takes|keeps running).*)")


class Block(NamedTuple):
    """A block of commands, what they should say, and why they are not run, if they are not."""

    page: str
    commands: str
    says: str
    skipped: str | None


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        Block(page.name, commands, says, mark[1] if (mark := MARK.match(commands)) else None)
        for commands, says in found
    ]


EVERY = [block for page in RUN for block in blocks(page)]


def parts(text: str) -> list[str]:
    """Return the lines without what varies: numbers, the width of columns, the rules of tables."""
    lines = [re.sub(r"[-+]?\d[\d.,]*", "N", line).split() for line in text.splitlines()]
    return [" ".join(words) for words in lines if words]


def missing(said: str, expected: str) -> list[str]:
    """Return the expected lines that are not in what was said, in that order."""
    lines = iter(parts(said))
    return [wanted for wanted in parts(expected) if not any(wanted in line for line in lines)]


class Shell:
    """Runs the blocks of a page in its folder; what they start in the background ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.groups = folder, folder.with_suffix(".state"), list[int]()
        self.state.write_text("")
        # A person's git knows who that person is, in every clone.
        self.home = folder.with_suffix(".home")
        self.home.mkdir()
        (self.home / ".gitconfig").write_text("[user]\n\tname = test\n\temail = test@example.invalid\n")

    def run(self, commands: str) -> tuple[int, str]:
        """Return the exit status and what the commands printed; they start where the last ones ended."""
        printed = self.folder.with_suffix(".out")
        script = f'. {self.state}\nset -eo pipefail\n{commands}\n(export -p; echo cd "$PWD") > {self.state}\n'
        with printed.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=environment() | {"HOME": str(self.home)}, start_new_session=True,
            )  # fmt: skip
            self.groups.append(process.pid)
            status = process.wait(3600)
        return status, printed.read_text(errors="replace")

    def close(self) -> None:
        for group in self.groups:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                continue
        time.sleep(0.5)


@pytest.fixture(scope="module")
def shell(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Shell]]:
    """Return the shell of a page: in a copy of the finished clone, open until another page's is asked for."""
    opened: dict[str, Shell] = {}

    def of(page: str) -> Shell:
        if page not in opened:
            close()
            folder = tmp_path_factory.mktemp(page.removesuffix(".md")) / "abo-vqa"
            opened[page] = Shell(copy_project(repro_once, folder))
            (folder / ".venv").symlink_to(sys.prefix)  # the one that `make` builds
        return opened[page]

    def close() -> None:
        while opened:
            opened.popitem()[1].close()

    yield of
    close()


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=f"{block.page}-{place}") for place, block in enumerate(EVERY)]
)
def test_the_commands_of_a_page_do_what_it_says(shell: Callable[[str], Shell], block: Block) -> None:
    if block.skipped:
        pytest.skip(block.skipped)
    status, said = shell(block.page).run(block.commands)
    assert status == 0, f"{block.commands}\n{said[-4000:]}"
    assert missing(said, block.says) == [], f"{block.commands}\n{said[-4000:]}"


def test_every_page_is_in_the_index_and_has_commands() -> None:
    index = next(page for page in PAGES if page.name == "README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == {page.name for page in PAGES} - {"README.md"}
    assert {block.page for block in EVERY} == {page.name for page in RUN}


def test_commands_stand_in_blocks_that_are_run() -> None:
    for page in RUN:
        text = page.read_text()
        assert text.count("```sh\n") == len(blocks(page)), page.name
        fences = re.findall(r"^```(\w*)$", text, re.MULTILINE)
        assert set(fences[::2]) <= {"sh", "text"}, f"{page.name}: another kind of block, or one that is not closed"


def test_a_wrong_expectation_is_seen() -> None:
    said = "Path  Metric   HEAD  new\nmetrics.json  options.open/accuracy  0.68  0.72\n"
    assert missing(said, "metrics.json options.open/accuracy 0.1 0.2\n") == []
    assert missing(said, "metrics.json standard.open/accuracy 0.1 0.2\n")
    assert missing(said, "metrics.json options.open/accuracy 0.1 0.2\nPath Metric HEAD new\n"), "in that order"


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
