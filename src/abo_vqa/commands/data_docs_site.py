"""Great Expectations' Data Docs on suites and tables, with an index page that works offline.

Great Expectations fills its index page by scripts from public servers; offline it stays empty. Its pages on suites and
results then show their text without layout, icons and charts.
"""

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from abo_vqa.questions.expectations import (
    Guarded,
    batches_of,
    context_of,
    great_expectations,
    read_suite,
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Expectations</title><style>
body {{ font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #ddd; padding: .3em .6em; text-align: left; vertical-align: top }}
.no {{ background: #fdd }}
</style></head><body><h1>Expectations and their results on the current tables</h1>
{sections}
</body></html>
"""
_SECTION = """<h2>{name}: {holding} of {all} hold</h2>
<p>{about} <a href="{suite}">The suite</a>, <a href="{result}">the result in full</a>.</p>
<table><tr><th>expectation</th><th>holds</th><th>column</th><th>found</th></tr>
{rows}
</table>"""
_ROW = '<tr class="{style}"><td>{name}</td><td>{holds}</td><td>{column}</td><td>{found}</td></tr>'


def build_data_docs(tables: Iterable[Guarded], folder: Path) -> Path:
    """Write the site on the suites and their results into `folder`; return its index page.

    Raises InputError for a file that is not a suite.
    """
    gx = great_expectations()
    context = context_of(gx)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}
    site = {
        "class_name": "SiteBuilder",
        "store_backend": store,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "show_how_to_buttons": False,
    }
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    context.add_data_docs_site("site", site)
    results = [_validate(guarded, context, gx) for guarded in tables]
    context.build_data_docs()
    first = folder / "index.html"
    sections = "\n".join(_section(suite, result, folder) for suite, result in results)
    first.write_text(_PAGE.format(sections=sections), encoding="utf-8")
    return first


def _validate(guarded: Guarded, context: Any, gx: Any) -> tuple[Any, Any]:
    suite = context.suites.add(read_suite(guarded, gx))
    definition = gx.ValidationDefinition(name=suite.name, data=batches_of(context, suite.name, suite.name), suite=suite)
    # Without the rows and values that fail: all of them could make a page of megabytes, and Great Expectations does not
    # escape them.
    short = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
    checkpoint = gx.Checkpoint(
        name=suite.name, validation_definitions=[context.validation_definitions.add(definition)], result_format=short
    )
    found = context.checkpoints.add(checkpoint).run(
        batch_parameters={"dataframe": guarded.table}, run_id=gx.RunIdentifier(run_name="current tables")
    )
    [result] = found.run_results.values()
    return suite, result


def _section(suite: Any, result: Any, folder: Path) -> str:
    [page] = (folder / "validations" / suite.name).rglob("*.html")
    return _SECTION.format(
        name=escape(suite.name),
        holding=sum(checked.success for checked in result.results),
        all=len(result.results),
        about=escape((suite.meta or {}).get("about", "")),
        suite=quote(f"expectations/{suite.name}.html"),
        result=quote(page.relative_to(folder).as_posix()),
        rows="\n".join(_rows(result)),
    )


def _rows(result: Any) -> Iterator[str]:
    for checked in result.results:
        expectation = checked.expectation_config
        yield _ROW.format(
            style="" if checked.success else "no",
            name=escape(expectation.meta["name"]),
            holds=_holds(checked),
            column=escape(str(expectation.kwargs.get("column", ""))),
            found=escape(_found(checked.result)),
        )


def _holds(checked: Any) -> str:
    if checked.expectation_config.kwargs.get("mostly") == 0:
        return "reported"
    return "yes" if checked.success else "no"


def _found(found: Any) -> str:
    if "unexpected_count" not in found:
        shares = (found.get("details") or {}).get("observed_partition", {}).get("weights")
        weights = f"; shares {', '.join(f'{share:.4f}' for share in shares)}" if shares else ""
        return f"{found.get('observed_value'):.3g}{weights}"
    asked = found["element_count"] - found["missing_count"]
    return f"{found['unexpected_count']:,} of {asked:,} rows differ"
