"""Great Expectations over a table: a committed suite in, the keys of the failing rows out."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def run_suite(
    path: Path, table: "pd.DataFrame", key: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, list[str]]:
    """Return, for every expectation of the suite in its order, the keys of the rows that fail it.

    The suite is a JSON file; each expectation has its name in `meta.name`. A value {"$PARAMETER": "x"} in it
    is filled from `parameters`: so params.yaml's thresholds reach the suite. Every expectation must be about
    the rows of a column. InputError: no suite there, or an expectation that cannot be computed.
    """
    # Importing it costs seconds, so only the two stages that use it pay; it must not phone home.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    suite = _read_suite(path, gx)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": table})
    result = batch.validate(
        suite,
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": [key],
            "return_unexpected_index_query": False,
        },
        expectation_parameters=dict(parameters or {}),
    )
    failed = {}
    for checked in result.results:
        name = checked.expectation_config.meta["name"]
        # A metric that raises looks like bad data; it is a fault of the suite or the table's columns.
        if problem := _raised(checked.exception_info):
            raise InputError(f"{path}: {name}: cannot be computed: {problem}")
        failed[name] = [row[key] for row in checked.result.get("unexpected_index_list") or []]
        if not checked.success and not failed[name]:
            raise InputError(f"{path}: {name}: fails without naming a row; use expectations about a column's rows")
    return failed


def refuse_failures(failed: Mapping[str, list[str]], rows: Mapping[Any, Any], table: str) -> None:
    """Raise InputError for the first expectation that failed: its name, how many rows, three examples."""
    for name, keys in failed.items():
        if keys:
            examples = "\n".join(f"  {key}: {rows[key]}" for key in keys[:3])
            raise InputError(f"{table}: expectation {name} fails on {len(keys)} rows, such as\n{examples}")


def _read_suite(path: Path, gx: Any) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: not found; it must be a Great Expectations suite")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("id", None)
        for expectation in values["expectations"]:
            expectation.pop("id", None)
            expectation["meta"]["name"]
        return gx.ExpectationSuite(**values)
    except Exception as error:
        raise InputError(f"{path}: not a suite whose expectations have a meta.name: {error!r}") from None


def _raised(info: Any) -> str | None:
    # Either one record, or one per metric that was to be computed.
    for record in [info, *(value for value in (info or {}).values() if isinstance(value, dict))]:
        if record and record.get("raised_exception"):
            return str(record.get("exception_message"))
    return None
