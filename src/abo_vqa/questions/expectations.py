"""Run a Great Expectations suite on a table and return the keys of the failing rows."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = "whole"


@dataclass(frozen=True)
class Outcome:
    """The result of one expectation: whether it succeeds, the keys of the failing rows, and the observed value.

    An expectation about a whole column, such as the distribution of its values, fails on all rows or on none;
    `observed` is None for an expectation about rows.
    """

    success: bool
    keys: list[str]
    observed: Any = None


@dataclass(frozen=True)
class Guarded:
    """A table and its suite: the suite's file, the table, its key column, and values of the suite's parameters."""

    suite: Path
    table: "pd.DataFrame"
    key: str
    parameters: Mapping[str, Any]


def run_suite(guarded: Guarded, rows_only: bool = False) -> dict[str, Outcome]:
    """Return the outcome of every expectation of the suite, by name in the suite's order.

    The suite is a JSON file; `meta.name` names each expectation. A value {"$PARAMETER": "x"} in it is replaced from
    `parameters`, which have the thresholds of params.yaml. An expectation with `mostly: 0` only reports, and always
    succeeds. rows_only: skip expectations about a whole column. InputError: missing suite, or an expectation that
    cannot be computed.
    """
    gx = great_expectations()
    from great_expectations.expectations.expectation import ColumnMapExpectation

    suite = read_suite(guarded, gx)
    about_rows = {_name(e) for e in suite.expectations if isinstance(e, ColumnMapExpectation)}
    if rows_only:
        suite.expectations = [e for e in suite.expectations if _name(e) in about_rows]
    batch = batches_of(context_of(gx), "tables", "table").get_batch({"dataframe": guarded.table})
    result = batch.validate(suite, result_format=result_format(guarded.key))
    outcomes = {}
    for checked in result.results:
        name = _name(checked.expectation_config)
        outcomes[name] = _outcome(name, checked, guarded, name in about_rows)
    return outcomes


def refuse_failures(outcomes: Mapping[str, Outcome], rows: Mapping[Any, Any], table: str) -> None:
    """Raise InputError for the first failed expectation, with its name, number of rows and three examples."""
    for name, outcome in outcomes.items():
        if not outcome.success:
            seen = "" if outcome.observed is None else f" (observed: {outcome.observed})"
            examples = "".join(f"\n  {key}: {rows[key]}" for key in outcome.keys[:3])
            raise InputError(
                f"{table}: expectation {name} fails on {len(outcome.keys)} rows{seen}, such as{examples or ' none'}"
            )


def great_expectations() -> Any:
    """Import Great Expectations without analytics, and only where it is used, since that takes seconds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    return gx


def context_of(gx: Any) -> Any:
    """Return a context that writes no files and shows no progress bars."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def batches_of(context: Any, source: str, asset: str) -> Any:
    """Return the batch definition of a whole data frame."""
    return (
        context.data_sources.add_pandas(source).add_dataframe_asset(asset).add_batch_definition_whole_dataframe(_WHOLE)
    )


def result_format(key: str) -> dict[str, Any]:
    """Return the result format that lists every failing row by its key."""
    return {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [key],
        "return_unexpected_index_query": False,
    }


def _name(expectation: Any) -> str:
    return str(expectation.meta["name"])


def _outcome(name: str, checked: Any, guarded: Guarded, about_rows: bool) -> Outcome:
    # A metric that raises looks like bad data, but is a fault of the suite or the table's columns.
    if problem := _raised(checked.exception_info):
        raise InputError(f"{guarded.suite}: {name}: cannot be computed: {problem}")
    if checked.success:
        return Outcome(True, [])
    if about_rows:
        return Outcome(False, [row[guarded.key] for row in checked.result["unexpected_index_list"]])
    observed = (checked.result.get("details") or {}).get("observed_partition") or checked.result.get("observed_value")
    return Outcome(False, list(guarded.table[guarded.key]), observed)


def read_suite(guarded: Guarded, gx: Any) -> Any:
    """Read the suite with its parameters filled in; InputError: missing file, or not a suite with names."""
    path = guarded.suite
    if not path.is_file():
        raise InputError(f"{path}: not found; it must be a Great Expectations suite")
    try:
        values = _fill(json.loads(path.read_text(encoding="utf-8")), guarded.parameters)
        values.pop("id", None)
        for expectation in values["expectations"]:
            expectation.pop("id", None)
            expectation["meta"]["name"]
        return gx.ExpectationSuite(**values)
    except Exception as error:
        raise InputError(f"{path}: not a suite whose expectations have a meta.name: {error!r}") from None


def _fill(value: Any, parameters: Mapping[str, Any]) -> Any:
    # Great Expectations would fill them only after it renders the page of the suite, which then fails.
    if isinstance(value, list):
        return [_fill(part, parameters) for part in value]
    if isinstance(value, dict):
        name = value.get("$PARAMETER")
        return {key: _fill(part, parameters) for key, part in value.items()} if name is None else parameters[name]
    return value


def _raised(info: Any) -> str | None:
    # Either one record, or one per metric.
    for record in [info, *(value for value in (info or {}).values() if isinstance(value, dict))]:
        if record and record.get("raised_exception"):
            return str(record.get("exception_message"))
    return None
