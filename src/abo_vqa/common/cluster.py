"""Workers on a Ray cluster, each with a model of its own, which Ray Data sends tasks to.

A row of the data set is a task, so Ray Data neither makes nor divides batches: results have the same bytes as without
Ray. They come in the order of the tasks. The tasks of a worker that died are done again by another.
"""

from abo_vqa.common.processor import PORTABLE

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abo_vqa.common.digests import SRC
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params

# How often a task is done again whose worker died: one that kills every worker must not go on forever.
TRIES_AGAIN = 5
# Tasks and results are small; images are read from the sample.
_STORE = 200_000_000
_PASSED_ON = (*PORTABLE, "DVC_ROOT", "DVC_STAGE")


class Cluster:
    """A connected Ray cluster; opened by `open_cluster`.

    gpus: whether workers compute on GPUs, one each.
    """

    def __init__(self, workers: int, gpus: bool) -> None:
        """Take the number of workers."""
        self.gpus, self._workers = gpus, workers
        self._resources: dict[str, Any] = {"num_cpus": 1, "num_gpus": int(gpus)}

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns on a machine of the cluster, in the project's folder."""
        import ray

        there = ray.remote(max_calls=1, **self._resources)(_call)
        with _readable():
            found, refused = ray.get(there.remote(str(Path.cwd()), function, arguments))
        return _unless_refused(found, refused)

    def results(
        self, open_worker: Callable[[], Callable[[Any], Any]], identity: Callable[[], str], tasks: Sequence[Any]
    ) -> Iterator[Any]:
        """Yield the result of each task, in their order.

        open_worker: called once on every worker, opens what does tasks there. identity: a digest of everything that
        results depend on; a machine where it differs is refused by InputError.
        """
        import ray.data

        expected, data = self.call(identity), ray.data.DataContext.get_current()
        data.execution_options.preserve_order = True
        data.enable_progress_bars = False
        worker: Any = _Worker  # Ray Data's types know no classes with arguments
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        # A block each: a worker's results arrive when its block is done.
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            worker,
            fn_constructor_args=(str(Path.cwd()), open_worker, identity, expected),
            compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(rows))),
            max_task_retries=TRIES_AGAIN,
            scheduling_strategy="SPREAD",
            **self._resources,
        )
        with _readable():
            for row in done.iter_rows():
                yield _unless_refused(pickle.loads(row["found"]), row["refused"])


@contextmanager
def open_cluster(params: Params) -> Iterator[Cluster | None]:
    """Connect to ray.address, or start a Ray on this machine; None with `engine: local`.

    Raises InputError if Ray is not installed, the cluster cannot be reached, or it is too small.
    """
    if params.engine == "local":
        yield None
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError('engine: ray needs the package ray; pip install "abo-vqa[ray]"') from None
    import torch  # slow, and every stage imports this module

    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Ray would give a worker a single thread, and the number of threads can change the last bits of a sum.
    variables["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    paths = [str(SRC), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    variables["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(str(Path(path).resolve()) for path in paths if path))
    settings: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "logging_level": "warning"}
    address, workers = params.ray.address, params.ray.workers
    if not address:
        settings |= {"include_dashboard": False, "object_store_memory": _STORE}
        settings["num_cpus"] = max(os.cpu_count() or 1, 1 if workers == "auto" else workers)
    try:
        ray.init(address=address or "local", **settings)
    except Exception as error:  # Ray raises nearly anything: ConnectionError, RuntimeError, ValueError, TimeoutError
        raise InputError(f"ray.address: {address or 'a Ray of this machine'} cannot be reached: {error}") from error
    try:
        resources = ray.cluster_resources()
        gpus, machines = int(resources.get("GPU", 0)), sum(node["Alive"] for node in ray.nodes())
        most = gpus or int(resources.get("CPU", 0))
        if workers != "auto" and workers > most:
            raise InputError(f"ray.workers: {workers}, but the cluster has {most} {'GPUs' if gpus else 'CPUs'}")
        yield Cluster(workers if workers != "auto" else gpus or machines, bool(gpus))
    finally:
        ray.shutdown()


class _Worker:
    """An actor: opens its model at its first task."""

    def __init__(
        self, folder: str, open_worker: Callable[[], Callable[[Any], Any]], identity: Callable[[], str], expected: str
    ) -> None:
        self._folder, self._open, self._identity, self._expected = folder, open_worker, identity, expected
        self._do: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        found, refused = _call(self._folder, self._done, (pickle.loads(row["task"]),))
        return {"found": pickle.dumps(found), "refused": refused}

    def _done(self, task: Any) -> Any:
        if self._do is None:
            if self._identity() != self._expected:
                raise InputError(
                    "its model, adapter, tables, code, packages or GPU differ from the machine's that was asked first; "
                    "give all machines of the cluster the same"
                )
            self._do = self._open()
        return self._do(task)


def _call(folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, str]:
    """Return what a function returns in a folder of this machine, or the message of its InputError."""
    try:
        os.chdir(folder)
        return function(*arguments), ""
    except (InputError, FileNotFoundError) as error:
        return None, f"{os.uname().nodename}, {folder}: {error}"


def _unless_refused(found: Any, refused: str) -> Any:
    if refused:
        raise InputError(f"engine: ray: {refused}")
    return found


@contextmanager
def _readable() -> Iterator[None]:
    """Turn the loss of machines into an InputError; errors of the code itself are passed on with their traceback."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayError as error:
        if isinstance(error, RayTaskError):
            raise
        raise InputError(
            f"engine: ray: the cluster, or every worker that had the same images, is gone ({error}); what was answered "
            "is kept: run the stage again"
        ) from error
