"""Ask a server for many answers at a time, and keep every answer in a journal as soon as it has arrived."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import EndpointParams
from abo_vqa.generators.endpoint.budget import Ledger
from abo_vqa.generators.endpoint.kept import HTTP, OUT_OF_BUDGET, Kept
from abo_vqa.generators.output_schema import count_questions

if TYPE_CHECKING:
    from abo_vqa.common.tracking.run import Run
    from abo_vqa.generators.endpoint.client import Server

_LOG_EVERY = 1.0  # seconds


class Wanted(NamedTuple):
    """An answer to ask for: its key in the journal, and the request, which is made when it is sent."""

    key: str
    body: Callable[[], dict[str, Any]]


class Asking:
    """One run: asks about images, at most in_flight at a time, and writes every answer down when it arrives."""

    def __init__(self, endpoint: EndpointParams, schema: dict[str, Any], kept: Kept, progress: "Progress") -> None:
        """schema: of the answers, sent if the server takes one."""
        self._endpoint, self._schema, self._kept, self._progress = endpoint, schema, kept, progress
        self._ledger = Ledger(endpoint)
        for entry in kept.entries:
            self._ledger.add(entry)
        self._in_a_row = 0
        self._refused: set[str] = set()  # by the server, which will refuse them again
        self._stop: InputError | None = None
        self._exhausted: str | None = None  # name of the budget

    async def ask(self, wanted: Sequence[Wanted]) -> None:
        """Ask for all answers, once more at the end for those that failed though the server did not refuse them.

        InputError once going on is useless, after the answers under way have arrived.
        """
        # Imported here and below: the other sources need no client.
        from abo_vqa.generators.endpoint.client import Server

        self._ledger.check_counted()
        server = Server(self._endpoint, lambda: self._stay_within_requests(server))
        before = len(self._kept.answers)
        bar = tqdm(total=before + len(wanted), initial=before, desc=self._progress.name, unit=" answers", mininterval=1)
        try:
            await self._ask_all(server, wanted, bar)
            left = [one for one in wanted if one.key not in self._kept.answers and one.key not in self._refused]
            await self._ask_all(server, left, bar)
        finally:
            bar.close()
            self._progress.log(self._ledger, at_once=True)
            await server.close()
        if self._stop:
            raise self._stop
        if self._exhausted:
            raise self._spent(self._exhausted)

    @property
    def _going_on(self) -> bool:
        return self._stop is None and self._exhausted is None

    async def _ask_all(self, server: "Server", wanted: Sequence[Wanted], bar: "tqdm[Any]") -> None:
        waiting, under_way = list(reversed(wanted)), set[asyncio.Task[bool]]()
        while under_way or (waiting and self._going_on):
            while waiting and self._going_on and len(under_way) < self._endpoint.in_flight:
                if budget := self._ledger.exceeded_by(len(under_way) + 1):
                    if not under_way:
                        self._exhausted = budget
                    break
                under_way.add(asyncio.create_task(self._ask_one(server, waiting.pop())))
            if under_way:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                bar.update(sum(task.result() for task in done))

    def _stay_within_requests(self, server: "Server") -> None:
        from abo_vqa.generators.endpoint.client import NotSent

        limit = self._endpoint.budget.requests
        if limit is not None and self._ledger.requests + server.sent.total() >= limit:
            raise NotSent

    def _spent(self, budget: str) -> InputError:
        return InputError(
            f"generate.endpoint.budget.{budget}: {self._ledger.describe(budget)} is spent, and another request may "
            f"exceed it; {len(self._kept.answers)} answers are kept: raise it and run the stage again to go on"
        )

    async def _ask_one(self, server: "Server", wanted: Wanted) -> bool:
        """Ask for one answer and keep it; return whether it has come."""
        from abo_vqa.generators.endpoint.client import NotSent, Unanswered

        # A server that knows this key repeats its answer to a run that was killed, and tries again what failed.
        repetition = self._kept.request_key(wanted.key)
        try:
            reply = await server.ask(wanted.body(), self._schema, repetition)
        except Unanswered as problem:
            # What failed before may be the image's fault, and says little about the server.
            self._in_a_row += not self._kept.failures[wanted.key]
            self._fail(wanted.key, problem.kind, server.sent.pop(repetition, 0))
            if problem.kind.startswith(f"{HTTP}4"):
                self._refused.add(wanted.key)
            if self._in_a_row >= self._endpoint.max_failures:
                self._stop = self._stop or InputError(
                    f"generate.endpoint: {self._in_a_row} images in a row have no answer, the last for this reason: "
                    f"{problem.kind}: {problem}; {len(self._kept.answers)} answers are kept: when it is mended, run "
                    "the stage again to go on"
                )
        except NotSent:
            if sent := server.sent.pop(repetition, 0):
                self._fail(wanted.key, OUT_OF_BUDGET, sent)
            self._exhausted = "requests"
        except InputError as problem:
            self._stop = self._stop or problem
        else:
            self._in_a_row = 0
            entry = asdict(reply) | {"requests": server.sent.pop(repetition)}
            self._kept.answer(wanted.key, entry)
            self._ledger.add(entry)
            self._progress.answered(entry)
            self._progress.log(self._ledger)
            try:
                self._ledger.check_counted()
            except InputError as problem:
                self._stop = self._stop or problem
            return True
        return False

    def _fail(self, key: str, kind: str, requests: int) -> None:
        self._ledger.add(self._kept.fail(key, kind, requests))
        self._progress.failed(kind)
        self._progress.log(self._ledger)


class Progress:
    """Counts the outputs of this run, and logs to MLflow."""

    def __init__(
        self, name: str, run: "Run", resumed: int, failure_of: Callable[[Mapping[str, Any]], str | None]
    ) -> None:
        """name: of all metrics. resumed: answers of earlier runs. failure_of: returns an answer's failure, or None."""
        self.name, self._run, self._resumed, self._failure_of = name, run, resumed, failure_of
        self._images, self._questions = 0, 0
        self._failures: Counter[str] = Counter()
        self._started = self._logged = time.perf_counter()
        run.log_metrics({f"{name}/images_resumed": resumed}, 0)

    def answered(self, answer: Mapping[str, Any]) -> None:
        """Count an answer."""
        self._images += 1
        self._questions += count_questions(answer["text"])
        if failure := self._failure_of(answer):
            self._failures[failure] += 1

    def failed(self, kind: str) -> None:
        """Count an image without an answer."""
        self._failures[kind] += 1

    def log(self, ledger: Ledger, at_once: bool = False) -> None:
        """Log all counts; no more often than every second, unless `at_once`."""
        now = time.perf_counter()
        if not at_once and now - self._logged < _LOG_EVERY:
            return
        self._logged = now
        counts: dict[str, float | None] = {
            "images": self._images,
            "questions": self._questions,
            "questions_per_second": self._questions / (now - self._started),
            # Over all runs with these settings, as the budget counts.
            "requests": ledger.requests,
            "tokens/input": ledger.input_tokens,
            "tokens/output": ledger.output_tokens,
            "cost": ledger.money,
        }
        failures = {f"failures/{kind}": count for kind, count in self._failures.items()}
        values = {f"{self.name}/{name}": value for name, value in {**counts, **failures}.items()}
        self._run.log_metrics(values, self._resumed + self._images)
