"""The names of optimizers and schedules that the installed transformers has, read without importing it.

The import takes seconds, and a wrong name should be refused before.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_NAME = re.compile(r'^    [A-Z0-9_]+ = "(\w+)"', re.MULTILINE)
# They need settings beyond those that params.yaml has.
UNSET = {"cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "reduce_lr_on_plateau", "greedy"}


def optimizers() -> list[str]:
    """Return the values of train.optimizer."""
    return ["auto", *_members("training_args.py", "OptimizerNames")]


def schedules() -> list[str]:
    """Return the values of train.schedule."""
    return [name for name in _members("trainer_utils.py", "SchedulerType") if name not in UNSET]


@cache
def _members(file: str, enumeration: str) -> list[str]:
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return []
    text = Path(spec.submodule_search_locations[0], file).read_text(encoding="utf-8")
    body = text.partition(f"\nclass {enumeration}(")[2]
    return _NAME.findall(re.split(r"\n(?=\S)", body, maxsplit=1)[0])
