"""The folder of a registered model: the code that serves it, its adapter, and its base or the base's pin.

A base on the Hugging Face hub is fetched when the model is loaded: the folder has its pin.
"""

import base64
import io
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Map
from PIL import Image

from abo_vqa.common.digests import SRC, code_files
from abo_vqa.common.params import Params

# What the copied modules import.
REQUIREMENTS = (
    "mlflow", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "safetensors", "pillow",
    "numpy", "pandas", "psutil", "pyarrow", "pydantic", "ruamel.yaml", "tqdm", "jinja2", "huggingface_hub",
)  # fmt: skip
SIGNATURE = ModelSignature(
    # Of any type, so that bytes are allowed, and so that a wrong value is reported with its row.
    inputs=Schema(
        [
            ColSpec(AnyType(), "image"),
            ColSpec(DataType.string, "question"),
            ColSpec(AnyType(), "options", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(DataType.string, "answer"),
            ColSpec(Map(DataType.double), "probabilities", required=False),
            ColSpec(DataType.string, "model_version"),
        ]
    ),
)


def save_served_model(folder: Path, arm: str, adapter: Path, digest: str, params: Params) -> None:
    """Write the model's folder. adapter: the PEFT folder; digest: its name in `model_version`."""
    # Otherwise MLflow draws a progress bar per copied file.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    base = Path(params.model.base)
    artifacts = {"adapter": str(adapter)} | ({"base": str(base)} if base.exists() else {})
    config = {
        "arm": arm,
        "adapter": digest,
        "base": params.model.base,
        "model": params.model.model_dump(exclude={"base"}),
        "max_new_tokens": params.evaluate.max_new_tokens,
        "tokens_per_pass": params.evaluate.tokens_per_pass,
        "prompt": params.prompt_of(arm).model_dump(),
    }
    # Imported here: it registers itself with MLflow as the model to save.
    from abo_vqa.serving import served_model

    with tempfile.TemporaryDirectory() as temporary:
        package = copy_code(served_model.__name__, Path(temporary))
        save_model(
            folder,
            # Relative: the path is written into the folder, which other machines load.
            python_model=os.path.relpath(served_model.__file__),
            code_paths=[str(package)],
            artifacts=artifacts,
            model_config=config,
            signature=SIGNATURE,
            input_example=pd.DataFrame([_example()]),
            # No package index has versions with a build suffix (+cpu).
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
        )


def copy_code(module: str, folder: Path) -> Path:
    """Copy only the files that a module runs into `folder`; return the package's folder."""
    for path in code_files(module):
        copy = folder / path.relative_to(SRC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder / "abo_vqa"


def _example() -> dict[str, Any]:
    with io.BytesIO() as file:
        Image.new("RGB", (64, 64), (200, 30, 30)).save(file, "PNG")
        image = base64.b64encode(file.getvalue()).decode()
    return {"image": image, "question": "What color is it?", "options": ["red", "blue", "green", "black"]}
