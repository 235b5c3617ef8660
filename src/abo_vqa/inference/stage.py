"""Stage evaluate: run one model on the test questions under every condition; the stage `score` scores them."""

import abo_vqa.common.processor  # noqa: F401

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.digests import code_digest, digest, folder_digest, model_identity, package_versions
from abo_vqa.common.journal import open_journal
from abo_vqa.common.layout import (
    adapter_folder,
    answers_table,
    feature_folder,
    journal_folder,
    read_image_bytes,
    read_questions,
    split_table,
)
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.params.measure import counterparts
from abo_vqa.common.params.model import BASE
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import replacing
from abo_vqa.inference.conditions import BLANK, Asked, questions_asked

if TYPE_CHECKING:
    from abo_vqa.inference.prompt_tree.scorer import Scorer
    from abo_vqa.inference.prompt_tree.single import SingleScorer

_OPENED = ExitStack()  # never closed: a worker's adapter stays active
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "pillow")


def main() -> None:
    """Evaluate the base model, or one adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="base, or an arm and a training seed, as standard-1")
    name = parser.parse_args().model
    params = read_params()
    params.arm_of(name)
    evaluate(name, params)


def evaluate(name: str, params: Params) -> None:
    """Run the model on every test question under every condition; an interrupted evaluation resumes."""
    evaluation = _Evaluation(name, params)
    rows, asked = evaluation.questions()
    # Imported here: a wrong parameter is reported before seconds of importing torch.
    from abo_vqa.common.cluster import open_cluster
    from abo_vqa.common.tracking.run import model_tags, tracked_run
    from abo_vqa.inference.ask import ask_all
    from abo_vqa.inference.remote import RemoteScorer

    images = _images(rows)
    prompt = params.prompt_of(params.arm_of(name))
    tags = {"conditions": ", ".join(asked), **model_tags(name, params)}
    with open_cluster(params) as cluster:
        if cluster is None:
            journal_path = _journal_path(name, params, asked, images)
        else:
            journal_path = _journal_of(name, cluster.call(evaluation.identity))
        with tracked_run(f"evaluate {name}", params, tags) as run, open_journal(journal_path) as journal:
            run.log_dataset(split_table("test"), "evaluation", len(rows))
            known = dict(zip(journal.keys(), journal.read(), strict=True))
            if cluster is None:
                with _scorer(name, params, asked, images) as scorer:
                    answers = ask_all(scorer, prompt, rows, asked, name, known, journal.append)
            else:
                remote = RemoteScorer(cluster, evaluation.open_scorer, evaluation.identity)
                answers = ask_all(remote, prompt, rows, asked, name, known, journal.append, remote.ask_each)
            path = answers_table(name)
            with replacing(path) as temporary:
                answers.to_parquet(temporary, index=False)
            run.log_artifact(path)
            run.tag_output(path)
            journal.discard()
    earlier = len(known.keys() & images.keys() - {BLANK})
    resumed = f", {earlier} of them before it was interrupted" if known else ""
    print(f"evaluate {name}: {len(answers)} questions about {len(images) - 1} images{resumed}{_left_out(asked)}")


@dataclass(frozen=True)
class _Evaluation:
    """The evaluation of a model on any machine that has the project's folder."""

    name: str
    params: Params

    def questions(self) -> tuple[list[dict[str, Any]], dict[str, list[Asked]]]:
        rows = read_questions("test")
        return rows, questions_asked(self.params, rows, read_questions("train"))

    def identity(self) -> str:
        """Return the digest of everything that this machine's answers depend on."""
        rows, asked = self.questions()
        return _answers_digest(self.name, self.params, asked, _images(rows))

    def open_scorer(self) -> "Scorer | SingleScorer":
        """Load the model, with its adapter active until the process ends."""
        rows, asked = self.questions()
        return _OPENED.enter_context(_scorer(self.name, self.params, asked, _images(rows)))


@contextmanager
def _scorer(
    name: str, params: Params, asked: Mapping[str, Sequence[Asked]], images: Mapping[str, bytes]
) -> "Iterator[Scorer | SingleScorer]":
    """Load the model, and activate its adapter in the block."""
    from abo_vqa.inference.ask import prompts_by_image
    from abo_vqa.inference.prompt_tree.choose import scorer_for
    from abo_vqa.model.adapters import adapts_vision, attach_adapters, use_adapter
    from abo_vqa.model.base.loading import load_base, load_processor

    processor = load_processor(params.model)
    base: Any = load_base(params.model)
    model = attach_adapters(base, {} if name == BASE else {name: adapter_folder(name)})
    with use_adapter(model, name):
        # Cached features are valid only while the vision tower is frozen.
        cache = None if adapts_vision(model, name) else feature_folder()
        limits = params.evaluate.max_new_tokens, params.evaluate.tokens_per_pass
        prompts = prompts_by_image(asked, params.prompt_of(params.arm_of(name)))
        yield scorer_for(model, processor, images, prompts, cache, *limits)


def _images(rows: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    from abo_vqa.inference.ask import blank_image

    return read_image_bytes(row["image_id"] for row in rows) | {BLANK: blank_image()}


def _left_out(asked: Mapping[str, Sequence[Asked]]) -> str:
    """Return how many questions have no counterpart because no other image fits; "" if all have theirs."""
    pairs = [(condition, name) for condition in asked for name in counterparts(condition, asked).values()]
    lacking = {name: len(asked[condition]) - len(asked[name]) for condition, name in pairs}
    return "".join(f"; {count} not under {name}: no other image suits" for name, count in lacking.items() if count)


def _journal_path(name: str, params: Params, asked: Mapping[str, Sequence[Asked]], images: Mapping[str, bytes]) -> Path:
    """Return the journal of this evaluation, named by a digest of everything that its answers depend on."""
    return _journal_of(name, _answers_digest(name, params, asked, images))


def _journal_of(name: str, inputs: str) -> Path:
    return journal_folder() / f"{name}-{inputs}.db"


def _answers_digest(
    name: str, params: Params, asked: Mapping[str, Sequence[Asked]], images: Mapping[str, bytes]
) -> str:
    from abo_vqa.model.base.loading import compute_dtype, load_config
    from abo_vqa.model.base.memory import gpu_memory, pass_tokens

    vocabulary = load_config(params.model).get_text_config().vocab_size
    inputs = [
        model_identity(params.model.base, "model.base"),
        None if name == BASE else folder_digest(adapter_folder(name)),
        params.model.model_dump(mode="json", exclude={"base"}),
        str(compute_dtype(params.model.quantization)),  # `auto` resolves differently on different GPUs
        params.prompt_of(params.arm_of(name)).model_dump(),
        # The grouping of an image's prompts changes the last bits of their scores.
        [params.evaluate.max_new_tokens, pass_tokens(params.evaluate.tokens_per_pass, vocabulary, gpu_memory())],
        {condition: [asdict(question) for question in questions] for condition, questions in asked.items()},
        {image: sha256(data).hexdigest() for image, data in images.items()},
        code_digest("abo_vqa.inference.stage"),
        package_versions(LIBRARIES),
    ]
    return digest(inputs)


if __name__ == "__main__":
    # As a module with a name: workers of a cluster import what they are sent.
    from abo_vqa.inference.stage import main as stage

    run_stage("evaluate", stage)
