"""Source `vlm` of the stage generate: a model writes outputs into a journal, from which a killed run resumes.

The journal is named after the digest of everything that its outputs depend on. It is not a DVC output, since DVC
removes outputs before it runs a stage. So a killed run resumes, and a finished one is not repeated.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from abo_vqa.common.digests import digest, model_identity
from abo_vqa.common.errors import InputError
from abo_vqa.common.journal import Journal, open_journal
from abo_vqa.common.params import Params
from abo_vqa.common.params.data import VlmParams
from abo_vqa.common.project import model_source, project_root
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.output_schema import count_questions, most_new_tokens

if TYPE_CHECKING:
    from abo_vqa.common.cluster import Cluster
    from abo_vqa.common.tracking.run import Run
    from abo_vqa.generators.vlm_remote import Writing
    from abo_vqa.generators.vlm_writer import Batch, Picture

GENERATOR = "vlm"
# Under the project root, so that experiments in temporary folders reuse earlier outputs.
JOURNALS = Path("tables/generating")


def generate(
    rows: Sequence[Mapping[str, Any]],
    images: Sequence[bytes],
    params: Params,
    tracked: "Callable[[str, Params, Mapping[str, str]], AbstractContextManager[Run]]",
    sample: Path,
) -> tuple[list[RawOutput], dict[str, Any]]:
    """Return an output for every row of the sample, in order, and counts.

    images: the image file of every row; tracked: opens an MLflow run, as common.tracking.run.tracked_run does; sample:
    the table of rows and images, which workers of a cluster read. Raises InputError if the model or the prompt cannot
    be read. Outputs made before a failure are kept and reused.
    """
    # Imported here: the other sources do not need torch.
    from abo_vqa.common.cluster import open_cluster
    from abo_vqa.generators.vlm_remote import Writing, content
    from abo_vqa.generators.vlm_writer import Picture

    vlm = params.generate.vlm
    prompt = read_prompt(vlm)
    pictures = [Picture(row["image_path"], data) for row, data in zip(rows, images, strict=True)]
    name, _ = model_source(vlm.base, "generate.vlm.base")
    model = model_identity(vlm.base, "generate.vlm.base")
    writing = Writing(vlm, prompt, params.seed, sample, [content(picture) for picture in pictures])
    with open_cluster(params) as cluster:
        inputs = writing.identity() if cluster is None else cluster.call(writing.identity)
        with open_journal(project_root() / JOURNALS / f"{inputs}.db") as journal:
            _write_missing(journal, pictures, writing, cluster, params, tracked)
            batches = journal.read()
    outputs = [output for batch in batches for output in batch["outputs"]]
    prompt_digest = digest(prompt)
    raw = [
        RawOutput(row["product_id"], row["image_path"], GENERATOR, params.seed, output["text"], name, prompt_digest)
        for row, output in zip(rows, outputs, strict=True)
        if output["text"] is not None
    ]
    report = {
        "outputs": len(raw),
        "products_without_output": len(rows) - len(raw),
        "outputs_valid": sum(output["failure"] is None for output in outputs),
        "failures": dict(Counter(output["failure"] for output in outputs if output["failure"])),
        "questions": sum(count_questions(output.output) for output in raw),
        "model": {"base": name, "version": model},
        "prompt": {"digest": prompt_digest, "text": prompt},
        "constrained": vlm.constrained,
        "max_new_tokens": most_new_tokens(vlm),
        "batch_sizes": sorted({len(batch["outputs"]) for batch in batches}),
    }
    return raw, report


def _write_missing(
    journal: Journal,
    pictures: "Sequence[Picture]",
    writing: "Writing",
    cluster: "Cluster | None",
    params: Params,
    tracked: Callable[..., Any],
) -> None:
    """Generate for the pictures that the journal lacks, and log the run."""
    from abo_vqa.generators.vlm_remote import RemoteWriter
    from abo_vqa.generators.vlm_writer import QuestionWriter, generate_batches

    vlm = params.generate.vlm
    batches = journal.read()
    done = sum(len(batch["outputs"]) for batch in batches)
    if done == len(pictures):
        print(f"generate: all {done} outputs are in {journal.path} already")
        return
    with (
        tracked("generate vlm", params, {"source": GENERATOR, "model": vlm.base}) as run,
        tqdm(total=len(pictures), initial=done, desc="generate", unit=" images", mininterval=1) as bar,
    ):
        prompt, seed = writing.prompt, writing.seed
        writer = QuestionWriter(vlm, prompt, seed) if cluster is None else RemoteWriter(cluster, writing, done)
        batch_size = batches[-1]["batch_size"] if batches else writer.batch_size(pictures)
        progress = _Progress(run, done)
        for batch in generate_batches(writer, pictures[done:], batch_size):
            journal.append(str(done), asdict(batch))  # the key is the place of its first picture
            done += len(batch.outputs)
            bar.update(len(batch.outputs))
            progress.log(batch)


class _Progress:
    """Counts the outputs of this run, and logs to MLflow after every batch."""

    def __init__(self, run: "Run", resumed: int) -> None:
        self._run, self._resumed, self._images, self._questions = run, resumed, 0, 0
        self._failures: Counter[str] = Counter()
        self._started = time.perf_counter()
        run.log_metrics({"generate/images_resumed": resumed}, 0)

    def log(self, batch: "Batch") -> None:
        """Log the batch that has just been generated."""
        self._images += len(batch.outputs)
        self._questions += sum(count_questions(output.text or "") for output in batch.outputs)
        self._failures.update(output.failure for output in batch.outputs if output.failure)
        rates: dict[str, float] = {
            "generate/images": self._images,
            "generate/questions": self._questions,
            "generate/questions_per_second": self._questions / (time.perf_counter() - self._started),
            "generate/batch_size": batch.batch_size,
        }
        failures = {f"generate/failures/{kind}": count for kind, count in self._failures.items()}
        self._run.log_metrics({**rates, **failures}, self._resumed + self._images)


def read_prompt(vlm: VlmParams) -> str:
    """Return the text that asks the model for questions; InputError if its file cannot be read."""
    try:
        return Path(vlm.prompt).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"generate.vlm.prompt: {vlm.prompt}: cannot be read ({error}); give a text file") from None
