"""The command `abo-vqa`: one subcommand per module of this package.

Modules import slow packages inside their functions, so that help, completion and wrong arguments do not import torch.
"""

from textwrap import indent
from types import ModuleType

import typer
from typer.core import TyperCommand

from abo_vqa.commands import (
    compare,
    data_docs,
    doctor,
    evaluate,
    export,
    import_set,
    params,
    pin,
    plan,
    predict,
    predict_table,
    preset,
    register,
    repro,
    send_runs,
    serve,
    sweep,
)
from abo_vqa.common.errors import readable_errors
from abo_vqa.common.quiet import quiet_libraries

# In the order of the help. A module has EXAMPLES and main(), whose docstring and annotations are its help.
COMMANDS: dict[str, ModuleType] = {
    "repro": repro,
    "predict": predict,
    "serve": serve,
    "export": export,
    "evaluate": evaluate,
    "predict-table": predict_table,
    "compare": compare,
    "params": params,
    "preset": preset,
    "import-set": import_set,
    "pin": pin,
    "plan": plan,
    "sweep": sweep,
    "register": register,
    "send-runs": send_runs,
    "data-docs": data_docs,
    "doctor": doctor,
}
# The line \b keeps typer from rewrapping the paragraph.
_EXAMPLES = "\b\nExamples:\n{}"

app = typer.Typer(
    help="Run, serve, evaluate and compare models; change parameters; pool runs.",
    epilog="Help on a command: abo-vqa COMMAND -h. The experiment itself: dvc repro, or side by side: abo-vqa repro.",
    no_args_is_help=True,
    # Plain text can be searched and copied, and does not need the import of rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for name, module in COMMANDS.items():
    app.command(
        name,
        cls=getattr(module, "Command", TyperCommand),
        epilog=_EXAMPLES.format(indent(module.EXAMPLES.strip(), "  ")),
    )(readable_errors(name)(module.main))


def main() -> None:
    """Run the command line."""
    quiet_libraries()
    app(prog_name="abo-vqa")


if __name__ == "__main__":
    main()
