"""The frame of the pages that the plugin makes itself, the list of runs and the documents: one look with the pages that stages write."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightshift_airflow import links
from nightshift_airflow.navigation import Opened


def frame(title: str, content: str) -> str:
    """Return a whole page around `content`, which is HTML; `title` is text."""
    page = _FRAME.replace("{palette}", _PALETTE.read_text(encoding="utf-8"))
    return page.replace("{title}", html.escape(title)).replace("{content}", content)


def scrolling(table: str, name: str) -> str:
    """Return a table in a box of its own that scrolls sideways; the keyboard reaches it by `name`, which differs on one page."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(name)}">{table}</div>'


def list_of_runs(runs: Sequence[Opened], broken: Mapping[str, str], use_cases: Sequence[str] = (), shown: str = "") -> str:
    """Return the page that lists `runs`, each with links to itself in Airflow and to its reports; first the `broken` use cases, each with its fault.

    If there are several `use_cases`, links choose the runs of one of them. `shown` is the chosen one; empty if all are.
    """
    rows = []
    for run in runs:
        pages = " ".join(f'<a href="{html.escape(run.href(stage))}">{html.escape(stage)}</a>' for stage in run.pages())
        in_airflow = html.escape(links.airflow("dags", run.dag_id, "runs", run.run_id))
        itself = f'<a href="{in_airflow}" target="_top">{html.escape(run.run_id)}</a>'
        cells = [html.escape(run.dag_id), itself, html.escape(run.opened_at[:16].replace("T", " ")), pages]
        rows.append(f'<tr><th scope="row">{html.escape(run.partition)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    body = "".join(rows) or '<tr><td colspan="5">No run has left a report yet.</td></tr>'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Partition", "DAG", "Run", "Opened (UTC)", "Reports"))
    caption = "The latest runs, the newest first"
    table = f'<table class="runs"><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    faults = "".join(
        f'<p class="broken" role="alert">The use case <b>{html.escape(name)}</b> has no DAGs, so it is not scored: {html.escape(fault)}</p>'
        for name, fault in broken.items()
    )
    return frame("Nightshift", f"<h1>Nightshift</h1>{faults}{_choice(use_cases, shown)}{scrolling(table, caption)}")


def _choice(use_cases: Sequence[str], shown: str) -> str:
    """Return links to the runs of all use cases and of each of them; nothing if there is one."""
    if len(use_cases) < 2:
        return ""
    links_to = [
        f'<a href="{html.escape(links.page())}/{html.escape(f"?use_case={name}") if name else ""}"{" aria-current=true" if name == shown else ""}>'
        f"{html.escape(name or 'all')}</a>"
        for name in ("", *use_cases)
    ]
    return f'<nav class="choice" aria-label="Use case">Use case: {" ".join(links_to)}</nav>'


_PALETTE = Path(__file__).resolve().parents[2] / "pipelines" / "lib" / "pages" / "templates" / "palette.css"
"""The colours of every page. The plugin does not import ``pipelines``, but reads this file of its own checkout."""

_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<style>
{palette}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 80rem; padding: 1rem 1.25rem 3rem; overflow-wrap: break-word; }
article { max-width: 60rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
a { color: var(--accent); }
.scroll { overflow-x: auto; margin: .8rem 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
caption { color: var(--quiet); font-size: .85rem; text-align: left; padding-bottom: .35rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-size: .85rem; }
tbody th { font-weight: 400; }
.broken { color: var(--bad); background: var(--bad-soft); padding: .6rem .8rem; }
.choice a { margin-left: .8rem; }
.choice a[aria-current] { color: inherit; font-weight: 600; text-decoration: none; }
.runs th, .runs td { white-space: nowrap; }
.runs td:last-child { white-space: normal; min-width: 20rem; }
.runs td a { display: inline-block; margin-right: .8rem; }
pre { background: var(--panel); padding: .6rem .8rem; white-space: pre-wrap; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
</style></head><body><main>{content}</main></body></html>
"""
