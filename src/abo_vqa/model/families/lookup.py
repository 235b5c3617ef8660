"""Find a model's family by its configuration."""

from importlib import import_module
from pathlib import Path
from typing import Any

from abo_vqa.model.families.family import Family

for _file in sorted(Path(__file__).parent.glob("*.py")):
    import_module(f"{__package__}.{_file.stem}")


def family_of(config: Any) -> Family:
    """Return a model's family; one that no file names is treated as most families are."""
    kind = next((kind for kind in Family.__subclasses__() if config.model_type in kind.types), Family)
    return kind(config)


def known_types() -> dict[str, type[Family]]:
    """Return the families by model type."""
    return {name: kind for kind in Family.__subclasses__() for name in kind.types}
