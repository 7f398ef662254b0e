"""The line that a run leaves where the UI lists it: the outcome first, then the cause, then the page that shows why.

The first 110 characters are all that some views show, so they carry the outcome. Everything else follows in the order of the DAG's tasks.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightshift_airflow import links, places
from nightshift_airflow.json_files import read_json
from nightshift_airflow.markdown import link, plain

FAILURES = Path(".dvc/tmp/failures")
"""Where a stage that fails leaves its failure in the workspace."""

LONGEST = 1000
"""Characters of a note that Airflow keeps."""

_WELL = ("success", "skipped", "removed")  # removed: of a mapped task that has fewer shards than before
_SHORTEST_CUT = 50


@dataclass(frozen=True)
class Outcome:
    """The purpose of a DAG: the `task` that fulfils it, and the words for a run that `did` or did `not_` reach it."""

    task: str
    did: str
    not_: str


OUTCOMES = (
    Outcome("publish_scores", "PUBLISHED", "NOT PUBLISHED"),
    Outcome("publish_index", "PUBLISHED", "NOT PUBLISHED"),
    Outcome("promote", "PROMOTED", "NOT PROMOTED"),
    Outcome("govern", "MONITORED", "NOT MONITORED"),
    Outcome("rollback", "ROLLED BACK", "NOT ROLLED BACK"),
    Outcome("rollback_index", "ROLLED BACK", "NOT ROLLED BACK"),
    Outcome("replay", "REBUILT", "NOT REBUILT"),
)
_OTHER = Outcome("", "DONE", "FAILED")
_EMPTY_NIGHT = Outcome("publish_empty_night", "NO ROWS (allowed)", "NO ROWS, NOT RECORDED")
"""The purpose of a run whose night rightly has no rows, in place of publishing scores."""
_TOLD_BY = {"refuse": "approve"}
"""Stages that a task of another name runs."""


@dataclass(frozen=True)
class Run:
    """The facts of a note: the run, its `tasks` in the order of the DAG, and their `states` as Airflow names them (``embed_0`` is a
    shard).
    """

    dag_id: str
    run_id: str
    partition: str
    tasks: Sequence[str]
    states: Mapping[str, str | None]

    def unwell(self) -> list[str]:
        """Return the tasks that did not end well, as Airflow names them."""
        return sorted(name for name, state in self.states.items() if state not in _WELL)

    def failed(self) -> list[str]:
        """Return the tasks that failed themselves, in order; one that could not begin because another failed is none of them."""
        names = dict.fromkeys(self.task_of(name) for name in self.unwell() if self.states[name] != "upstream_failed")
        return sorted(names, key=self.order_of) or [self.task_of(name) for name in self.unwell()[:1]]

    def order_of(self, stage: str) -> int:
        """Return where `stage` comes in the run; behind all others if no task runs it."""
        task = _TOLD_BY.get(stage, stage)
        return self.tasks.index(task) if task in self.tasks else len(self.tasks)

    def task_of(self, name: str) -> str:
        """Return the task of which `name` is one, or one shard."""
        return name if name in self.tasks else re.sub(r"_\d+$", "", name)

    @property
    def outcome(self) -> Outcome:
        """The purpose of its DAG, or of a night without rows."""
        if self.states.get(_EMPTY_NIGHT.task) not in (None, "skipped", "removed", "upstream_failed"):
            return _EMPTY_NIGHT
        return next((outcome for outcome in OUTCOMES if outcome.task in self.tasks), _OTHER)

    @property
    def reached(self) -> bool:
        """Whether it came about."""
        outcome = self.outcome
        return not self.unwell() if outcome is _OTHER else self.states.get(outcome.task) == "success"


def describe_run(run: Run, workspace: Path) -> str:
    """Return the note of a run, from its states and what the stages left in its `workspace`, as Markdown."""
    failed, notes = run.failed(), stage_notes(workspace, run)
    outcome = run.outcome
    head = " ".join(filter(None, [outcome.did if run.reached else outcome.not_, run.partition]))
    if failed and not run.reached:
        return _compose(f"{head}: {failure_of(workspace, failed[0])}", _page(run, failed[:1]) or _log(run, failed[0]))
    own = notes.pop(outcome.task, None) if run.reached else notes.pop("refuse", None)
    rest = "; ".join(filter(None, [own, *notes.values()]))
    if failed:
        text = f"{head}, but this failed: {failure_of(workspace, failed[0])}" + (f"; {rest}" if rest else "")
        return _compose(text, _page(run, failed[:1]) or _log(run, failed[0]))
    return _compose(f"{head}: {rest}" if rest else head, _page(run, [*run.tasks[::-1]]))


def describe_single(stage: str, dag_id: str, run_id: str, scratch: Path, error: str = "") -> str:
    """Return the note of a run whose one stage works in `scratch`; `error` is why it failed."""
    run = Run(dag_id, run_id, "", [stage], {stage: "failed" if error else "success"})
    head = run.outcome.not_ if error else run.outcome.did
    said = error.removeprefix(f"{stage} failed: ") or stage_notes(scratch, run).get(stage, "")
    return _compose(f"{head}: {said}" if said else head, _page(run, [stage]) or (_log(run, stage) if error else ""))


def describe_unopened(error: Exception, *, refused: bool) -> str:
    """Return the note of a run that could not be opened: for good where it was `refused`."""
    return _compose(f"{'REFUSED' if refused else 'NOT OPENED'}: {str(error).removeprefix('pin_run failed: ')}", "")


def stage_notes(workspace: Path, run: Run) -> dict[str, str]:
    """Return what the stages have to say: the ``note`` of each report in `workspace` by stage, in the order of the run's tasks.

    A stage that did not run this time may have left its report before: its note is left out.
    """
    found = {path.parent.name: read_json(path).get("note") for path in sorted(workspace.glob("data/reports/*/report.json"))}
    ran = {run.task_of(name) for name, state in run.states.items() if state != "skipped"}
    current = [stage for stage, note in found.items() if note and (_TOLD_BY.get(stage, stage) in ran or stage not in run.tasks)]
    return {stage: str(found[stage]) for stage in sorted(current, key=run.order_of)}


def failure_of(workspace: Path, task: str) -> str:
    """Return why `task` failed, in the words of its stage; if several shards failed, of the first one by name."""
    for path in sorted((workspace / FAILURES).glob("*.json")):
        if path.stem.partition("@")[0] == task and (message := read_json(path).get("message")):
            return f"{path.stem}: {message}"
    return f"{task}: it left no message, its log says more"


def _page(run: Run, stages: Sequence[str]) -> str:
    """Return where the first of `stages` that has a page is to be read."""
    reports = places.reports_path(run.dag_id, run.run_id)
    stage = next((stage for stage in stages if (reports / stage / "report.html").exists()), None)
    return f"Report: {link(stage, links.report(run.dag_id, run.run_id, stage))}" if stage else ""


def _log(run: Run, task: str) -> str:
    return f"Log: {link(task, links.airflow('dags', run.dag_id, 'runs', run.run_id, 'tasks', task))}"


def _compose(said: str, where: str) -> str:
    """Return `said`, which quotes data, and the link `where`, which does not: cut so that both fit."""
    room, text = LONGEST - len(where) - 3, " ".join(said.split())
    shown = plain(text)
    while len(shown) > room:
        text = text[: min(room, len(text) - _SHORTEST_CUT)]
        shown = f"{plain(text)}…"
    return f"{shown.rstrip('.')}. {where}" if where else shown
