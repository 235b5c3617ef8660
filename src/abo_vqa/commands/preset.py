"""Apply a committed file of overrides to params.yaml: `make scale TO=scales/paper.yaml`.

Comments and order of params.yaml are kept, and nothing is written unless the result is valid. `git checkout
params.yaml` goes back.
"""

import argparse
import io
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError, readable_errors
from abo_vqa.common.params import PARAMS_FILE, check_params

NULL = "tag:yaml.org,2002:null"


def apply_overrides(params: str, overrides: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the text of params.yaml with the overrides in place, and a line per changed value.

    Raises ParamsError if a key is unknown or the outcome is not a valid set of parameters.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 200
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    document = yaml.load(params)
    changes = list(_merge(document, overrides, ""))
    text = io.StringIO()
    yaml.dump(document, text)
    check_params(YAML(typ="safe", pure=True).load(text.getvalue()))
    return text.getvalue(), changes


def _merge(document: MutableMapping[str, Any], overrides: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in overrides.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(document.get(key), MutableMapping):
            yield from _merge(document[key], value, f"{name}.")
        else:
            old = document.get(key)
            if old != value:
                yield f"{name}: {old} -> {value}"
            document[key] = value


def main() -> None:
    """Rewrite params.yaml with the overrides of the given file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", type=Path, help="a file of overrides, such as scales/paper.yaml")
    path = parser.parse_args().overrides
    with readable_errors("scale"):
        if not path.is_file():
            known = ", ".join(str(found) for found in sorted(Path("scales").glob("*.yaml")))
            raise InputError(f"{path}: not found; there are: {known}")
        overrides = YAML(typ="safe", pure=True).load(path)
        if not isinstance(overrides, Mapping):
            raise InputError(f"{path}: must hold parameters by name, as params.yaml does")
        text, changes = apply_overrides(PARAMS_FILE.read_text(), overrides)
        temporary = PARAMS_FILE.with_suffix(".new")
        temporary.write_text(text)
        os.replace(temporary, PARAMS_FILE)
        print("\n".join(changes) or "nothing to change")


if __name__ == "__main__":
    main()
