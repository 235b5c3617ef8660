"""The documentation builds as a site that loads nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paths import ROOT

PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    assert set(re.findall(r"[\w/-]+\.md", navigation)) == {page.as_posix() for page in PAGES} | {"index.md"}


def test_no_page_is_long() -> None:
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert page.name == "parameters.md" or len(text.splitlines()) <= 200, page
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 180


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the site's packages are an extra: make docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # strict: warnings are errors
    site = tmp_path / "site"
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]* (?:src|href)=\"?(https?:[^\" >]+)", page.read_text())
        assert not loaded, page
    index = json.loads((site / "search/search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {page.with_suffix(".html").as_posix() for page in PAGES if page.name != "README.md"} <= found
    assert "code/statistics.html" in found, "the docstrings are there too"
