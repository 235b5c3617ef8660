"""Register adapters as versions of the model `abo-vqa`; the alias `champion` moves only when asked.

Run by the stage `register`, and by `abo-vqa register` to promote, or if the store was unreachable then.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import adapter_folder, predictions_table
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.project import project_root
from abo_vqa.common.storage import read_table
from abo_vqa.common.tracking.address import masked
from abo_vqa.common.tracking.run import find_run
from abo_vqa.common.tracking.store import open_store
from abo_vqa.serving.champion import Entry, choose_champion
from abo_vqa.serving.result import (
    ADAPTER,
    ARM,
    REPLICATE,
    RESULTS,
    TEST_DATA,
    TRIED,
    Result,
    results_of,
    tested_on,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL, CHAMPION = "abo-vqa", "champion"
# A version's predictions on its test set, among its artifacts: a later version is tested against them.
TESTED = "test_predictions.parquet"
_COLUMNS = ["qa_id", "image_id", "image_group", "condition", "correct"]
_DESCRIPTION = """Adapters of the abo-vqa experiment over their base model: image, question and options in, answer and
probabilities out. A version's description has its accuracies. The alias `champion` marks a version of an arm that the
computed verdict calls a gain over the base, and that beat the champion before it in a paired test.

```sh
# HTTP at 127.0.0.1:5001; without --model: the champion
abo-vqa serve --model models:/abo-vqa/1
```
```python
model = mlflow.pyfunc.load_model("models:/abo-vqa/1")
image = open("chair.jpg", "rb").read()
model.predict(pd.DataFrame([{"image": image, "question": "What color is it?"}]))
```
"""

Comparison = Mapping[str, Any]


def register_or_warn(comparison: Comparison, params: Params, run_id: str | None = None) -> None:
    """Register and print the outcome; an error is only a warning, because all files are written by now."""
    from mlflow.exceptions import MlflowException

    try:
        print("\n".join(register(comparison, params, run_id)))
    except (InputError, MlflowException, OSError) as error:  # OSError: raised by requests
        print(
            f"abo-vqa registry: warning: the adapters are not registered as versions of {MODEL!r}: "
            f"{masked(str(error))}\nEverything else is written. To register them later: abo-vqa register",
            file=sys.stderr,
        )


def register(comparison: Comparison, params: Params, run_id: str | None = None, promote: bool = False) -> list[str]:
    """Register one training run of every compared arm; return a line per action.

    comparison: of the stage `compare`. run_id: the run to attach a model to if its training run is not in the store;
    None: a new one. promote: let the alias move, as registry.promote does. Raises InputError if a file is missing or
    the store cannot be opened, and MLflow's exceptions.
    """
    results = results_of(comparison, params)
    tables = {result.replicate: _predictions(predictions_table(result.replicate)) for result in results}
    base = _predictions(predictions_table(BASE))
    client, experiment = open_store(fallback=False)  # versions in another store would be missed
    lines, entries = [], []
    # Concurrent workers of this host take turns, or two would register the same result.
    with FileLock(project_root() / "mlflow.db.registry.lock"):
        _make_model(client)
        for result in results:
            there = versions(client)
            version = next((v.version for v in there if v.tags.get(RESULTS) == result.tags[RESULTS]), None)
            known = version is not None
            if version is None:
                with _run(client, experiment, result, run_id) as run:
                    version = _add_version(client, run, result, tables[result.replicate], there, params)
            lines.append(_said(result, client.get_model_version(MODEL, version), known))
            entries.append(_entry(result, str(version), tables[result.replicate], base, params))
        if promote or params.registry.promote:
            lines.append(_promote(client, entries, params))
        else:
            lines.append(f"{MODEL}: the alias {CHAMPION} is left as it is; to let it move: abo-vqa register --promote")
    return lines


def versions(client: "MlflowClient", model: str = MODEL) -> "list[ModelVersion]":
    """Return all versions of a registered model, oldest first."""
    return sorted(client.search_model_versions(f"name = '{model}'"), key=lambda found: int(found.version))


def results_digests(comparison: Comparison, params: Params) -> dict[str, str]:
    """Return the digests that identify registered results, by arm; equal on every machine."""
    return {result.arm: result.tags[RESULTS] for result in results_of(comparison, params)}


def _said(result: Result, version: "ModelVersion", known: bool) -> str:
    how = "without validation" if result.validation is None else f"validation {100 * result.validation:.1f} %"
    return (
        f"{MODEL}: the {result.arm} arm ({result.replicate}, {how}) is version {version.version}, "
        f"{'as before' if known else 'new'}: result {version.tags[TRIED]} on this test set"
    )


def _promote(client: "MlflowClient", entries: list[Entry], params: Params) -> str:
    """Move the alias if a new version deserves it; return why or why not."""
    from abo_vqa.comparison.words import reason_text

    under = params.registry.champion_under
    present = _champion(client, under[0])
    chosen, why = choose_champion(entries, present, under, params.compare.confidence, reason_text)
    if chosen:
        client.set_registered_model_alias(MODEL, CHAMPION, chosen.version)
    return f"{MODEL}: {why}"


def _entry(result: Result, version: str, predictions: "pd.DataFrame", base: "pd.DataFrame", params: Params) -> Entry:
    under = params.registry.champion_under
    return Entry(
        result.arm,
        result.replicate,
        version,
        tested_on(result.tags, under[0]),
        predictions,
        result.validation,
        result.parts,
        {name: _lead(predictions, base, name, params.compare.confidence) for name in under if name in result.parts},
    )


def _lead(run: "pd.DataFrame", base: "pd.DataFrame", condition: str, confidence: float) -> float:
    """Return the lower limit of a run's accuracy minus base's on the same questions."""
    from abo_vqa.statistics.intervals import align, mean_difference

    pair = align(*(table[table["condition"] == condition] for table in (run, base)))
    lead = pair["correct"].astype(float) - pair["correct_second"].astype(float)
    return mean_difference(lead, pair["image_group"].to_list(), confidence).low


def _predictions(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(read_table(path, "score", _COLUMNS), columns=_COLUMNS)


def _make_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL, description=_DESCRIPTION)
    except MlflowException as error:
        # Created before, or just now by another host.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _run(client: "MlflowClient", experiment: str, result: Result, given: str | None) -> Iterator[str]:
    """Yield the run to attach a model to: its training run, the given one, or a new one."""
    # A clone that pulled the adapter has no training run of it in its store.
    found = find_run(adapter_folder(result.replicate))
    if known := found.id if found else given:
        yield known
        return
    tags = {ARM: result.arm, REPLICATE: result.replicate}
    run: str = client.create_run(experiment, run_name=f"register {result.replicate}", tags=tags).info.run_id
    try:
        yield run
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)


def _add_version(
    client: "MlflowClient",
    run: str,
    result: Result,
    predictions: "pd.DataFrame",
    there: "list[ModelVersion]",
    params: Params,
) -> str:
    from abo_vqa.serving.packaging import save_served_model

    tried = 1 + sum(version.tags.get(TEST_DATA) == result.tags[TEST_DATA] for version in there)
    description = (
        f"{result.description}\n\nThis is result {tried} registered on this test set: the more are tried, the likelier "
        "the best of them is luck."
    )
    # An adapter may be registered again with other results: name the folder by the results.
    place = f"model-{result.tags[RESULTS][:12]}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        save_served_model(folder, result.arm, adapter_folder(result.replicate), result.tags[ADAPTER], params)
        predictions.to_parquet(folder / TESTED, index=False)
        client.log_artifacts(run, str(folder), place)
    source = f"{client.get_run(run).info.artifact_uri}/{place}"
    tags = {**result.tags, TRIED: str(tried)}
    made = str(client.create_model_version(MODEL, source, run, tags, description=description).version)
    _link(client, run, result.replicate, made)
    return made


def _link(client: "MlflowClient", run: str, model: str, number: str) -> None:
    """Link the newest model of this name, which the stage `score` logged, to a version; none is no error."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    experiment = client.get_run(run).info.experiment_id
    newest = [{"field_name": "creation_timestamp", "ascending": False}]
    for found in client.search_logged_models([experiment], f"name = '{model}'", max_results=1, order_by=newest):
        known = json.loads(found.tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
        linked = json.dumps([*known, {"name": MODEL, "version": number}])
        client.set_logged_model_tags(found.model_id, {MLFLOW_MODEL_VERSIONS: linked})


def _champion(client: "MlflowClient", condition: str) -> Entry | None:
    version = client.get_registered_model(MODEL).aliases.get(CHAMPION)
    if version is None:
        return None
    # A version created by hand has no such tags, so it cannot be tested against.
    tags = client.get_model_version(MODEL, version).tags
    arm, replicate = tags.get(ARM, "unknown"), tags.get(REPLICATE, "made by hand")
    return Entry(arm, replicate, str(version), tested_on(tags, condition), _kept_predictions(client, version))


def _kept_predictions(client: "MlflowClient", version: str) -> "pd.DataFrame | None":
    """Return a version's predictions on its test set, None if the store does not return them."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as temporary:
        try:
            source = client.get_model_version_download_uri(MODEL, version)
            path = download_artifacts(f"{source}/{TESTED}", dst_path=temporary, tracking_uri=client.tracking_uri)
            return _predictions(Path(path))
        except (MlflowException, OSError, InputError):
            return None
