"""Register adapters as versions of the model `abo-vqa`; the alias `champion` follows the verdict.

Run by the stage `register`, and by `abo-vqa register` if the store was unreachable then.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import adapter_folder, split_table
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.project import head, project_root
from abo_vqa.common.storage import require
from abo_vqa.common.tracking.run import DVC_TAGS, STAGE_TAG, find_run
from abo_vqa.common.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from abo_vqa.serving.champion import Entry

MODEL, CHAMPION = "abo-vqa", "champion"
# Tags of a version, besides `CONDITION/accuracy` and `CONDITION/verdict`; `results` is a digest of the result.
ARM, ADAPTER, TEST_DATA, RESULTS, COMMIT = "arm", "adapter", "test_data", "results", "git_commit"
_DESCRIPTION = (
    "Adapters of the abo-vqa experiment over their base model: image, question and options in, answer and "
    "probabilities out. The alias `champion` marks the version that the computed verdict calls a gain over the base."
)

Comparison = Mapping[str, Any]


def register_or_warn(comparison: Comparison, params: Params, run_id: str | None = None) -> None:
    """Register and print the outcome; an error is only a warning, because all files are written by now."""
    from mlflow.exceptions import MlflowException

    try:
        print("\n".join(register(comparison, params, run_id)))
    except (InputError, MlflowException, OSError) as error:  # OSError: raised by requests
        print(
            f"abo-vqa registry: warning: the adapters are not registered as versions of {MODEL!r}: {error}\n"
            "Everything else is written. To register them later: abo-vqa register",
            file=sys.stderr,
        )


def register(comparison: Comparison, params: Params, run_id: str | None = None) -> list[str]:
    """Register the adapter of every compared arm and move the alias; return a line per action.

    comparison: of the stage `compare`. run_id: the run to attach a model to if its arm's training run is not in the
    store; None: a new one. Raises InputError if an adapter is missing or the store cannot be opened, and MLflow's
    exceptions.
    """
    from abo_vqa.serving.champion import Entry, accuracies_of, answers_on, choose_champion

    under = params.registry.champion_under
    tagged = {arm: _tags(arm, comparison, params) for arm in comparison["models"] if arm != BASE}
    client, experiment = open_store(fallback=False)  # versions in another store would be missed
    lines, entries = [], []
    # Concurrent workers of this host take turns, or two would register the same result.
    with FileLock(project_root() / "mlflow.db.registry.lock"):
        _make_model(client)
        for arm, tags in tagged.items():
            version = next((v.version for v in versions(client) if v.tags.get(RESULTS) == tags[RESULTS]), None)
            known = version is not None
            if version is None:
                with _run(client, experiment, arm, run_id) as run:
                    version = _add_version(client, run, tags, describe(arm, comparison, params), params)
            lines.append(f"{MODEL}: the {arm} arm is version {version}, {'as before' if known else 'new'}")
            accuracy = accuracies_of(arm, comparison).get(under[0], 0.0)
            entries.append(Entry(arm, str(version), answers_on(arm, comparison), accuracy, tags[TEST_DATA]))
        chosen, reason = choose_champion(entries, _champion(client, under[0]), under)
        if chosen:
            client.set_registered_model_alias(MODEL, CHAMPION, chosen.version)
    return [*lines, f"{MODEL}: {reason}"]


def versions(client: "MlflowClient", model: str = MODEL) -> "list[ModelVersion]":
    """Return all versions of a registered model, oldest first."""
    return sorted(client.search_model_versions(f"name = '{model}'"), key=lambda found: int(found.version))


def adapter_digest(folder: Path) -> str:
    """Return the SHA-256 of an adapter's settings and weights, without its card; InputError if it is missing."""
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: not found; `dvc repro train` makes it, `dvc pull` fetches it")
        digest.update(name.encode() + (folder / name).read_bytes())
    return digest.hexdigest()


def results_digests(comparison: Comparison, params: Params) -> dict[str, str]:
    """Return the digests that identify registered results, by arm; equal on every machine."""
    return {arm: _tags(arm, comparison, params)[RESULTS] for arm in comparison["models"] if arm != BASE}


def describe(arm: str, comparison: Comparison, params: Params) -> str:
    """Return a version's description and measured accuracies as text."""
    from abo_vqa.serving.champion import accuracies_of, answers_on

    answers, base = answers_on(arm, comparison), accuracies_of(BASE, comparison) if BASE in comparison["models"] else {}
    lines = [
        f"Adapter of the {arm} arm over {params.model.base}, tested on {comparison['questions']} questions about "
        f"{comparison['images']} images.\n"
    ]
    for name, accuracy in accuracies_of(arm, comparison).items():
        against = f", {BASE} {100 * base[name]:.1f} %" if name in base else ""
        judged = f". Is that a gain? {answers[name]}" if name in answers else ""
        lines.append(f"- `{name}`: {100 * accuracy:.1f} % right{against}{judged}")
    return "\n".join([*lines, "", comparison["verdict"]["limits"]])


def _tags(arm: str, comparison: Comparison, params: Params) -> dict[str, str]:
    from abo_vqa.serving.champion import accuracies_of, answers_on

    tags = {
        ARM: arm,
        ADAPTER: adapter_digest(adapter_folder(arm)),
        TEST_DATA: hashlib.sha256(require(split_table("test"), "split").read_bytes()).hexdigest(),
        **{f"{name}/accuracy": f"{accuracy:.6f}" for name, accuracy in accuracies_of(arm, comparison).items()},
        **{f"{name}/verdict": answer for name, answer in answers_on(arm, comparison).items()},
    }
    counts = json.dumps([tags, params.model.model_dump(mode="json")], sort_keys=True)
    tags[RESULTS] = hashlib.sha256(counts.encode()).hexdigest()
    made = {COMMIT: head(), **{tag: os.environ.get(name) for tag, name in DVC_TAGS.items() if tag != STAGE_TAG}}
    return tags | {tag: value for tag, value in made.items() if value}


def _make_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL, description=_DESCRIPTION)
    except MlflowException as error:
        # Created before, or just now by another host.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _run(client: "MlflowClient", experiment: str, arm: str, given: str | None) -> Iterator[str]:
    """Yield the run to attach an arm's model to: its training run, the given one, or a new one."""
    if known := _train_run(arm) or given:
        yield known
        return
    run: str = client.create_run(experiment, run_name=f"register {arm}", tags={ARM: arm}).info.run_id
    try:
        yield run
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)


def _train_run(arm: str) -> str | None:
    """Return the arm's training run, None if it is in another store, as in a clone that pulled the adapters."""
    found = find_run(adapter_folder(arm))
    return found.id if found else None


def _add_version(client: "MlflowClient", run: str, tags: Mapping[str, str], description: str, params: Params) -> str:
    from abo_vqa.serving.packaging import save_served_model

    # An adapter may be registered again with other results: name the folder by the results.
    place = f"model-{tags[RESULTS][:12]}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        save_served_model(folder, tags[ARM], adapter_folder(tags[ARM]), tags[ADAPTER], params)
        client.log_artifacts(run, str(folder), place)
    source = f"{client.get_run(run).info.artifact_uri}/{place}"
    return str(client.create_model_version(MODEL, source, run, dict(tags), description=description).version)


def _champion(client: "MlflowClient", condition: str) -> "Entry | None":
    from abo_vqa.serving.champion import Entry

    version = client.get_registered_model(MODEL).aliases.get(CHAMPION)
    if version is None:
        return None
    tags = client.get_model_version(MODEL, version).tags
    # A version created by hand has no such tags, so nothing supports it.
    accuracy, test_data = float(tags.get(f"{condition}/accuracy", 0)), tags.get(TEST_DATA, "")
    return Entry(tags.get(ARM, "unknown"), str(version), {}, accuracy, test_data)
