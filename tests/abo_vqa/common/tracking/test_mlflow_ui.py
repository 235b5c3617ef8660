"""The real MLflow UI in a real browser: two arms' runs, selected and compared, out of the box."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from abo_vqa.common.params import read_params
from abo_vqa.common.tracking.describe import by_measure, run_name
from abo_vqa.common.tracking.run import tracked_run
from paths import ROOT
from project import chromium
from serving import free_port, wait_for

pytestmark = pytest.mark.slow

ARMS = ("standard", "options")
EXPERIMENT = "fuzzy-bear"


@pytest.fixture(scope="module")
def curves() -> dict[str, list[dict[str, float | None]]]:
    """The committed training curves, by arm."""
    files = {arm: (ROOT / f"reports/curves/{arm}-1.csv").read_text().splitlines() for arm in ARMS}
    return {
        arm: [{name: float(value) if value else None for name, value in row.items()} for row in csv.DictReader(lines)]
        for arm, lines in files.items()
    }


@pytest.fixture(scope="module")
def logged(curves) -> dict[str, dict[str, float]]:
    """What stands behind each metric at the end, by arm: the committed results and the curves' last points."""
    metrics = json.loads((ROOT / "reports/metrics.json").read_text())
    found = {}
    for arm in ARMS:
        found[arm] = {by_measure(name): value for name, value in metrics[arm].items()} | {
            name: value for name, value in curves[arm][-1].items() if name.startswith("grad_norm")
        }
    return found


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, empty_store: bytes, curves, logged) -> Iterator[str]:
    """A bare `mlflow ui` at the root of a project whose two arms are logged, with the committed curves and results."""
    root = tmp_path_factory.mktemp("project")
    (root / "mlflow.db").write_bytes(empty_store)
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        # As under `dvc exp run`: the arms are children of the experiment's run.
        patch.setenv("DVC_STAGE", "train")
        patch.setenv("DVC_EXP_NAME", EXPERIMENT)
        patch.chdir(root)
        for arm in ARMS:
            with tracked_run(run_name(f"{arm}-1", read_params()), read_params(), {"arm": arm}) as run:
                run.log_history(curves[arm])
                run.log_metrics({name: value for name, value in logged[arm].items() if "accuracy" in name})
    address = f"http://127.0.0.1:{(port := free_port())}"
    environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environ.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    with (root / "ui.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(process, f"{address}/health")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def page(ui: str) -> Iterator[Page]:
    """The experiment's list of runs, without the assistant beside it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        # As `make ui` prints it: opens on the runs, without a pop-up.
        page.goto(f"{ui}/#/experiments/1?workflowType=machine_learning")
        expect(page.get_by_text("5 matching runs")).to_be_visible()
        yield page
        browser.close()


def unfold(page: Page) -> None:
    """Show the runs under the experiment's, and under the arms'."""
    for name in (EXPERIMENT, *(f"{arm} arm" for arm in ARMS)):
        page.get_by_role("row").filter(has_text=name).get_by_role("button").first.click()


# The table holds only what is in sight, its names and its values in two grids whose rows are placed alike.
VALUES_BESIDE = """name => {
    let cell = name
    while (!cell.style.top) cell = cell.parentElement
    return [...cell.closest("[role=grid]").parentElement.parentElement.querySelectorAll("[role=grid] *")]
        .filter(other => other.style.top === cell.style.top)
        .map(other => other.textContent.trim())
}"""


def shown(page: Page, name: str) -> list[float]:
    """Scroll the table of metrics until it shows one; return the values beside it."""
    wanted = page.get_by_text(name, exact=True)
    for _ in range(100):
        if wanted.count():
            return [float(text) for text in wanted.evaluate(VALUES_BESIDE) if re.fullmatch(r"[\d.]+", text)]
        page.mouse.wheel(0, 150)
        page.wait_for_timeout(100)
    raise AssertionError(f"the table does not show {name}")


def test_two_arms_compare_side_by_side(page: Page, logged) -> None:
    unfold(page)
    for arm in ARMS:
        page.get_by_role("row").filter(has_text=f"{arm} · seed 1").get_by_role("checkbox").first.check(force=True)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    first = page.get_by_text("accuracy/circular", exact=True)
    first.scroll_into_view_if_needed()
    first.locator("xpath=ancestor::*[@role='grid'][1]/following::*[@role='grid'][1]").hover()
    for name in ("accuracy/circular", "accuracy/open", "accuracy/options", "grad_norm/post_clip", "grad_norm/pre_clip"):
        assert shown(page, name) == [pytest.approx(logged[arm][name], abs=0.001) for arm in ARMS], name


def test_the_experiment_is_described_and_its_charts_are_grouped(page: Page, ui: str) -> None:
    page.goto(f"{ui}/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART")
    unfold(page)
    for section in ("accuracy", "grad_norm"):
        expect(page.get_by_role("button").filter(has_text=re.compile(rf"^{section} *\(\d+\)")).first).to_be_visible()


def test_their_gradient_norms_are_drawn_in_one_chart(page: Page, ui: str) -> None:
    page.goto(f"{ui}/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART")
    unfold(page)
    page.get_by_placeholder("Search metric charts").fill("grad_norm/(pre|post)_clip$")
    for name in ("grad_norm/pre_clip", "grad_norm/post_clip"):
        chart = page.locator("[data-testid='experiment-view-compare-runs-card']").filter(has_text=name)
        expect(chart).to_have_count(1)
        for arm in ARMS:
            expect(chart.get_by_text(f"{arm} · seed 1").first).to_be_visible()
        assert chart.locator(".scatterlayer .trace").count() >= len(ARMS)
