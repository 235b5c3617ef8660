"""The OpenAPI description holds: schemathesis draws requests from it, right and wrong ones, and checks the answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from small_server import running

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: requirements.lock has it")
pytestmark = pytest.mark.slow
PATHS = {"/invocations": "POST", "/version": "GET", "/health": "GET", "/ping": "GET"}
# A description cannot say which texts are images, so that a request of the described form may be refused.
EXCLUDED = ["positive_data_acceptance"]


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    with running() as (host, port, _):
        yield schemathesis.openapi.from_url(f"http://{host}:{port}/openapi.json")


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("path", PATHS)
def test_answers_are_as_described(api: Any, path: str, mode: str) -> None:
    operation = api[path][PATHS[path]]
    if mode == "negative" and PATHS[path] == "GET":
        pytest.skip("it has no parameters that could be wrong")
    excluded = schemathesis.checks.CHECKS.get_by_names(EXCLUDED)
    assert len(excluded) == len(EXCLUDED)
    statuses = set()

    @settings(
        max_examples=25 if path == "/invocations" else 3, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True, database=None,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def check(case: Any) -> None:
        statuses.add(case.call_and_validate(excluded_checks=excluded, timeout=60).status_code)

    check()
    # Options that differ in case only are refused, and a description cannot say so.
    assert 200 in statuses <= {200, 400} if mode == "positive" else statuses and 200 not in statuses
