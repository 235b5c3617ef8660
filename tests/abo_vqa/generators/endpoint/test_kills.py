"""The stage generate over a faulty server, killed again and again: nothing is lost, nothing is answered twice."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abo_vqa.common.draws import derive_rng
from faulty_server import HALF, RESET, SHORT, SILENCE, WRONG_JSON, FaultyServer
from killed_stage import run_generate
from paths import ROOT, SUPPORT

IMAGES, KILLS, IN_FLIGHT = 500, 20, 16
MADE = ("tables/raw.jsonl", "reports/generate.json")
FAULTS = [RESET, HALF, SHORT, SILENCE, WRONG_JSON, 500, (429, {"Retry_After": "0.1"})]


@pytest.mark.slow
def test_twenty_kills_and_a_faulty_server_change_nothing(
    project: Callable[..., Any],
    server: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = project(IMAGES)
    draws = derive_rng(time.time_ns(), "kill")  # others every time
    made.settings |= {"in_flight": IN_FLIGHT, "timeout_s": 1.0, "retries": 4, "max_failures": 100}
    whole, killed = made.written(tmp_path / "whole"), made.written(tmp_path / "killed")
    # Every process is a fork of one that has imported everything: it takes no seconds to begin.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(SUPPORT))))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_stage"])

    def start(folder: Path) -> Any:
        process = context.Process(target=run_generate, args=(str(folder), dict(os.environ)))
        process.start()
        return process

    undisturbed = start(whole)
    undisturbed.join()
    assert undisturbed.exitcode == 0 and server.computed.total() == IMAGES
    expected = [(whole / name).read_bytes() for name in MADE]
    for counts in (server.asked, server.computed, server.sent):
        counts.clear()
    server.kept.clear()

    server.fault = lambda image, n: draws.choice(FAULTS) if n < 2 and draws.random() < 0.1 else None
    server.delay, server.silence = 0.02, 3
    kills = 0
    while kills < KILLS:
        process = start(killed)
        until = server.sent.total() + draws.randrange(12)
        while server.sent.total() < until and process.exitcode is None:
            time.sleep(0.005)
        time.sleep(draws.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was to be killed before it was done"
        kills += 1
        assert not (killed / MADE[0]).exists()
    last = start(killed)
    last.join()
    while last.exitcode:  # some image met a fault every time: it is counted, and asked about again
        last = start(killed)
        last.join()
    assert [(killed / name).read_bytes() for name in MADE] == expected
    assert server.computed == dict.fromkeys(made.images, 1), "no request was answered twice"
    lost = server.sent.total() - IMAGES
    assert 0 <= lost <= KILLS * IN_FLIGHT, "only answers that were on their way at a kill came again"
    raw = [json.loads(line) for line in (killed / MADE[0]).open()]
    assert [row["product_id"] for row in raw] == [f"P{n}" for n in range(IMAGES)]
