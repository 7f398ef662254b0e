"""The bar above every page: where the run, the model, the nights next to it, the drift report and the runbook are.

Stages write their pages and know no Airflow, so the bar is put around a page when it is served. It links only to what exists.
"""

import html
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nightshift_airflow import links, places, runbooks
from nightshift_airflow.json_files import read_json
from nightshift_airflow.use_cases import suffix_of

NIGHTS, MONITORING = "nightly_batch_scoring", "drift_monitoring"
_DRIFT = "report_drift"
_RUNBOOKS = {
    "evaluate": "refused-challenger",
    "evaluate_encoder": "refused-challenger",
    "shadow": "approval-waiting",
    "decide": "approval-waiting",
    "replay": "champion-broken",
    "evaluate_index": "recall-gate-failed",
    "attach_evidence": "stale-index",
    _DRIFT: "drift-alert",
}
"""By stage; of a gate it is ``gate-failed``."""

_BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A link of the bar; one `outside` leads to Airflow or MLflow, and so out of a frame in which the page may be shown."""

    label: str
    href: str
    outside: bool = False


@dataclass(frozen=True)
class Opened:
    """A run that has a directory of reports, as it was when it opened."""

    directory: Path
    run_id: str
    partition: str
    opened_at: str
    tasks: tuple[str, ...]
    model: tuple[str, str] | None

    @property
    def dag_id(self) -> str:
        """Its DAG."""
        return self.directory.parent.name

    def has(self, stage: str) -> bool:
        """Return whether `stage` has left a page."""
        return (self.directory / stage / "report.html").exists()

    def pages(self) -> list[str]:
        """Return the stages that have left a page, in the order of the DAG's tasks."""
        stages = [path.parent.name for path in self.directory.glob("[a-z]*/report.html")]
        return sorted(stages, key=lambda stage: (self.tasks.index(stage) if stage in self.tasks else len(self.tasks), stage))

    def href(self, stage: str) -> str:
        """Return the address of the page of `stage`."""
        return links.page("reports", self.dag_id, self.directory.name, stage)


def opened_runs(dag_id: str) -> list[Opened]:
    """Return the runs of a DAG that have reports, oldest first."""
    found = (read_run(path.parent) for path in (places.home() / "reports" / dag_id).glob("*/run.json"))
    return sorted((run for run in found if run is not None), key=lambda run: run.opened_at)


def read_run(directory: Path) -> Opened | None:
    """Return the run whose reports are in `directory`; None if it does not say which it is."""
    try:
        return _read_run(directory, (directory / "run.json").stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=10_000)  # the bar of one page asks for all nights
def _read_run(directory: Path, written: int) -> Opened | None:
    content: dict[str, Any] = read_json(directory / "run.json")
    model = content.get("model") or {}
    known = (str(model["name"]), str(model["version"])) if model.get("name") and model.get("version") else None
    if not content.get("run_id"):
        return None
    tasks = tuple(map(str, content.get("tasks") or ()))
    return Opened(directory, str(content["run_id"]), str(content.get("partition") or ""), str(content.get("opened_at") or ""), tasks, known)


def of_report(directory: Path, stage: str, readable: Collection[str]) -> list[Link]:
    """Return the links above the page of `stage` of the run in `directory`, for a user who may read the DAGs `readable`."""
    found = [Link("All runs", f"{links.page()}/")]
    if (run := read_run(directory)) is not None:
        found.append(Link("Run in Airflow", links.airflow("dags", run.dag_id, "runs", run.run_id), outside=True))
        found += [Link(other, run.href(other)) for other in run.pages() if other != stage]
        found += _neighbours(run, stage)
        found += _same_night(run, readable)
        found += _models(run)
    runbook = _RUNBOOKS.get(stage, "gate-failed" if stage.startswith("validate_") else "")
    return [*found, *_runbook(runbook)]


def of_model(name: str, version: str, readable: Collection[str]) -> list[Link]:
    """Return the links above the card of a model's version."""
    found = [Link("All runs", f"{links.page()}/")]
    for path in sorted((places.home() / "reports").glob("*/*/register/report.json")):
        content, run = read_json(path), read_run(path.parent.parent)
        if run and run.dag_id in readable and (content.get("name"), content.get("version")) == (name, version):
            found.append(
                Link(f"Run of {run.partition} that registered it", links.airflow("dags", run.dag_id, "runs", run.run_id), outside=True)
            )
            found += [Link(stage, run.href(stage)) for stage in run.pages()]
            break
    if server := links.mlflow_version(name, version):
        found.append(Link("MLflow", server, outside=True))
    cards = (places.home() / "reports" / "models" / name).glob("*/model_card.html")
    versions = sorted(int(card.parent.name) for card in cards if card.parent.name.isdigit())
    before, after = [one for one in versions if one < int(version)], [one for one in versions if one > int(version)]
    found += [Link(f"← version {one}", links.page("models", name, str(one))) for one in before[-1:]]
    found += [Link(f"version {one} →", links.page("models", name, str(one))) for one in after[:1]]
    return [*found, *_runbook("rollback"), *_runbook("champion-broken")]


def put_around(page: str, bar: Sequence[Link]) -> str:
    """Return `page` with the links of `bar` above its content."""
    shown = "".join(
        f'<a href="{html.escape(link.href)}"{" target=_top" if link.outside else ""}>{html.escape(link.label)}</a>' for link in bar
    )
    nav = f'<nav class="nightshift-bar" aria-label="Nightshift">{shown}</nav>{_STYLE}'
    if (body := _BODY.search(page)) is None:
        return nav + page
    return f"{page[: body.end()]}{nav}{page[body.end() :]}"


def _neighbours(run: Opened, stage: str) -> Iterator[Link]:
    """Yield the same page of the nearest partitions before and after; of several runs of one, that of the newest."""
    others = {other.partition: other for other in opened_runs(run.dag_id) if other.partition and other.has(stage)}
    if before := [partition for partition in sorted(others) if partition < run.partition]:
        yield Link(f"← {before[-1]}", others[before[-1]].href(stage))
    if after := [partition for partition in sorted(others) if partition > run.partition]:
        yield Link(f"{after[0]} →", others[after[0]].href(stage))


def _same_night(run: Opened, readable: Collection[str]) -> Iterator[Link]:
    """Return what else is known of the partition: how it drifted, and the night itself."""
    suffix = suffix_of(run.dag_id)
    for dag_id, label, stages in (
        (MONITORING + suffix, "Drift", (_DRIFT,)),
        (NIGHTS + suffix, "Night", ("attach_evidence", "validate_scores", "validate_batch")),
    ):
        if run.dag_id == dag_id or dag_id not in readable:
            continue
        same = [other for other in opened_runs(dag_id) if other.partition == run.partition and run.partition]
        shown = [(other, stage) for other in reversed(same) for stage in stages if other.has(stage)]
        yield from (Link(f"{label} of {run.partition}", other.href(stage)) for other, stage in shown[:1])


def _models(run: Opened) -> Iterator[Link]:
    """Yield the cards of the model that the run is pinned to and of the one that it registered."""
    registered = read_json(run.directory / "register" / "report.json")
    made = (str(registered.get("name")), str(registered.get("version")))
    for name, version in dict.fromkeys([*([run.model] if run.model else []), made]):
        if (places.home() / "reports" / "models" / name / version / "model_card.html").exists():
            yield Link(f"{name} {version}", links.page("models", name, version))


def _runbook(name: str) -> list[Link]:
    return [Link(f"Runbook: {name}", links.page("runbooks", name))] if name and runbooks.path_of(name).exists() else []


_STYLE = """<style>
.nightshift-bar { display: flex; flex-wrap: wrap; gap: 0 1.1rem; padding: .3rem 1.25rem; font: 13px/1.5 system-ui, sans-serif;
  border-bottom: 1px solid var(--line, #8885); background: var(--panel, transparent) }
.nightshift-bar a { color: inherit; padding: .25rem 0; text-decoration: underline; text-underline-offset: .2em }
</style>"""
