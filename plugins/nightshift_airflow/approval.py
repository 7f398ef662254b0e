"""The approval of a challenger: it goes on, it is refused, or it waits for a person.

`ApproveOperator` reads what `decide` has written. Where that asks, the task waits in Airflow's own state ``awaiting_input``, without a worker,
under *Required actions* in the UI, and anybody who may answer there, or over the REST API, decides. Silence is a refusal.
"""

import datetime as dt
import hashlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from nightshift_airflow import links, markdown, places, process, runbooks, workspaces
from nightshift_airflow.json_files import read_json, write_json
from nightshift_airflow.stage_process import run_stage
from nightshift_airflow.task_context import require_workspace

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

DECISION = "data/reports/decide/decision.json"
REGISTERED = "data/models/registered.json"
ANSWER = "data/reports/approve/report.json"
TIMED_OUT = "nobody (timed out)"


class ApproveOperator(ApprovalOperator):
    """Let a challenger pass, refuse it or ask a person, as the decision in the run's workspace says.

    Returns, as its XCom, who approved (`approver`, a user's name) and why (`reason`), both empty if the evidence was enough. A refusal,
    anyone who utters it, is recorded by `pipelines.registry.refuse` before what is downstream is skipped. An answer is kept in the workspace: where recording it fails and the task
    is tried again, nobody is asked twice. Only an answer that comes before Airflow has released the worker that asked, within a second, may be lost:
    Airflow takes the end of that worker for a failure of the task that the answer has resumed, and asks again.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("params", None)  # the DAG's, which Airflow adds again below
        super().__init__(
            subject="May the challenger become champion? Type a comment, then approve or reject",
            defaults=self.REJECT,
            params={
                "comment": Param(
                    "", type="string", maxLength=500, description="Why. Needed before you can answer; it goes into the ledger."
                )
            },
            ignore_downstream_trigger_rules=True,
            **kwargs,
        )

    def execute(self, context: "Context") -> dict[str, str]:
        """Return who approved, or skip what is downstream; raise `TaskAwaitingInput` to wait for a person."""
        workspace = require_workspace(context)
        decision, digest = _read_decision(workspace.path)
        if decision["verdict"] == "promote":
            return {"approver": "", "reason": ""}
        if decision["verdict"] == "refuse":
            return self._refuse(context, workspace, {"decision": DECISION})
        answer = read_json(workspace.path / ANSWER)
        if answer.get("decision_sha256") == digest:
            log.info("%s has answered already: %s", answer["by"], answer["answer"])
            return self._follow(context, workspace, answer)
        deadline = dt.datetime.now(dt.UTC) + self.response_timeout if self.response_timeout else None
        self.body = _body(decision, _pages(workspace), deadline)
        super().execute(context)
        raise AssertionError("unreachable: an operator that asks does not return")

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, str]:
        """Go on with the answer of a person, or with their silence."""
        user = (event.get("responded_by_user") or {}).get("name")
        workspace = require_workspace(context)
        approved = self.APPROVE in event.get("chosen_options", ()) and bool(user)
        answer = {
            "answer": self.APPROVE if approved else self.REJECT,
            "by": str(user or TIMED_OUT),
            "reason": str((event.get("params_input") or {}).get("comment") or "")[:500],
            "decision_sha256": _read_decision(workspace.path)[1],
        }
        verb = "approved" if approved else "rejected"
        write_json(workspace.path / ANSWER, {**answer, "note": f"{verb} by {answer['by']}"})
        return self._follow(context, workspace, answer)

    def _follow(self, context: "Context", workspace: workspaces.Workspace, answer: dict[str, str]) -> dict[str, str]:
        if answer["answer"] == self.APPROVE:
            return {"approver": answer["by"], "reason": answer["reason"]}
        said = f": {answer['reason']}" if answer["reason"] else ""
        return self._refuse(context, workspace, {"actor": answer["by"], "reason": f"rejected by {answer['by']}{said}"})

    def _refuse(self, context: "Context", workspace: workspaces.Workspace, arguments: dict[str, str]) -> dict[str, str]:
        options = [f"--{name}={value}" for name, value in {"registered": REGISTERED, **arguments}.items()]
        run_stage("refuse", [sys.executable, "-m", "pipelines.registry.refuse", *options], workspace)
        below = [task for task in context["task"].get_flat_relatives(upstream=False) if not task.is_teardown]
        self.skip(ti=context["ti"], tasks=below)
        return {}

    def on_kill(self) -> None:
        """End the process too when Airflow ends the task."""
        process.stop_running()


def _read_decision(workspace: Path) -> tuple[dict[str, Any], str]:
    """Return the decision and its digest. `AirflowFailException` where there is none: no retry writes it."""
    path = workspace / DECISION
    decision = read_json(path)
    if decision.get("verdict") not in ("promote", "refuse", "ask"):
        raise AirflowFailException(f"{DECISION} holds no verdict (promote, refuse or ask); clear decide, which writes it")
    return decision, hashlib.sha256(path.read_bytes()).hexdigest()


def _body(decision: Mapping[str, Any], pages: Mapping[str, str], deadline: dt.datetime | None) -> str:
    """Return what the person reads, as Markdown: how to answer and until when, why they are asked, the comparison, and the pages to look
    at.
    """
    table = decision.get("table")
    silence = f" No answer until **{deadline.astimezone(dt.UTC):%A %Y-%m-%d %H:%M} UTC** is a *Reject*." if deadline else ""
    parts = [
        f"**Type a comment first**: *Approve* and *Reject* stay disabled until there is one.{silence}",
        markdown.bullets(decision.get("reasons", [])),
        *([markdown.plain(table["lead"]), markdown.table(table["columns"], table["rows"])] if isinstance(table, dict) else []),
        " · ".join(markdown.link(label, url) for label, url in pages.items()),
    ]
    return "\n\n".join(filter(None, parts))


def _pages(workspace: workspaces.Workspace) -> dict[str, str]:
    """Return the pages that help to decide, of those that exist: label and path."""
    stages = {"Comparison": "evaluate", "Shadow": "shadow", "Decision": "decide"}
    reports = places.reports_path(workspace.dag_id, workspace.run_id)
    paths = {
        label: links.report(workspace.dag_id, workspace.run_id, stage)
        for label, stage in stages.items()
        if (reports / stage / "report.html").exists()
    }
    model = read_json(workspace.path / REGISTERED)
    name, version = str(model.get("name")), str(model.get("version"))
    if (places.home() / "reports" / "models" / name / version / "model_card.html").exists():
        paths["Card of the challenger"] = links.page("models", name, version)
    if runbooks.path_of("approval-waiting").exists():
        paths["Runbook"] = links.page("runbooks", "approval-waiting")
    return paths
