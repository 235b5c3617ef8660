"""Stage parameters: check all parameters before DVC deletes the outputs of a stage that would refuse them."""

import argparse

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import CHECKED
from abo_vqa.common.params import read_params
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import replacing
from abo_vqa.parameters.layers import check_targets

BACK = "nothing was deleted; `git checkout params.yaml` goes back to the committed values"


def main() -> None:
    """Check params.yaml; write a file that is the same for all parameters, so that it makes no stage run again."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        params = read_params()
        check_targets(params.train.lora.targets, params.model.base)
    except InputError as error:
        raise InputError(f"{error}\n{BACK}") from None
    with replacing(CHECKED) as temporary:
        temporary.write_text("params.yaml was checked before any other stage ran\n", encoding="utf-8")


if __name__ == "__main__":
    run_stage("parameters", main)
