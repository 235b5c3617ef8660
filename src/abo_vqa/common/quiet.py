"""Silence third-party noise at its source."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Silence what libraries print about themselves and a user cannot act on; call before they are imported."""
    # On processors with AVX-512 BF16 bitsandbytes looks for a kernel on the hub and reports that there is none.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # The Trainer reads the old name of its own model's property.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # a bar for each Parquet file
