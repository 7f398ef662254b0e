"""The pages under ``/nightshift``: recent runs, gate reports, model cards; read-only, and for nobody without a login. And `alerts`.

Every route asks Airflow's own authentication (header or the UI's cookie) and authorisation. Path parts are matched whole against strict
patterns before a path is made of them. The content is served without any right to run scripts: reports quote rows of other people's data.
"""

import html
import json
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_asset, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi import Path as PathPart
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy.exc import OperationalError

from nightshift_airflow.alerts import known_user, receive_alerts
from nightshift_airflow.workspaces import home

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-same-origin allow-top-navigation-by-user-activation allow-popups",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_MOST_RUNS = 100

DagId = Annotated[str, PathPart(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,199}$")]
Slug = Annotated[str, PathPart(pattern=r"^[a-z0-9][a-z0-9_-]{0,79}$")]
Stage = Annotated[str, PathPart(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ModelName = Annotated[str, PathPart(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Version = Annotated[str, PathPart(pattern=r"^[0-9]{1,9}$")]

may_read_run = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))
may_read_assets = Depends(requires_access_asset(method="GET"))


def make_app() -> FastAPI:
    """The application; without the pages that FastAPI adds by itself, since those ask nobody for a login."""
    app = FastAPI(title="Nightshift", docs_url=None, redoc_url=None, openapi_url=None)
    app.dependency_overrides[get_user] = known_user
    app.get("/", response_class=HTMLResponse)(list_runs)
    app.get("/reports/{dag_id}/{slug}/{stage}", response_class=HTMLResponse, dependencies=[may_read_run])(show_report)
    app.get("/models/{name}/{version}", response_class=HTMLResponse, dependencies=[may_read_assets])(show_model)
    app.post("/alerts")(receive_alerts)
    app.add_exception_handler(OperationalError, _answer_later)
    return app


def list_runs(user: GetUserDep) -> HTMLResponse:
    """The latest runs of the DAGs that the user may read, each with links to its reports."""
    rows = []
    for directory in _latest_runs(get_auth_manager().get_authorized_dag_ids(user=user, method="GET")):
        run = _read(directory / "run.json")
        links = " ".join(
            f'<a href="reports/{html.escape(directory.parent.name)}/{html.escape(directory.name)}/{html.escape(report.parent.name)}">'
            f"{html.escape(report.parent.name)}</a>"
            for report in sorted(directory.glob("[a-z]*/report.html"))
        )
        cells = [run.get("partition"), directory.parent.name, run.get("run_id"), run.get("opened_at")]
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell or ''))}</td>" for cell in cells) + f"<td>{links}</td></tr>")
    body = "".join(rows) or '<tr><td colspan="5">No run has left a report yet.</td></tr>'
    return _respond(_PAGE.replace("{rows}", body))


def show_report(dag_id: DagId, slug: Slug, stage: Stage) -> HTMLResponse:
    """The page that a stage of a run wrote."""
    return _serve(home() / "reports" / dag_id / slug / stage / "report.html")


def show_model(name: ModelName, version: Version) -> HTMLResponse:
    """The card of a registered model version."""
    return _serve(home() / "reports" / "models" / name / version / "model_card.html")


def _latest_runs(dag_ids: set[str]) -> list[Path]:
    runs = [directory for dag_id in dag_ids for directory in (home() / "reports" / dag_id).glob("*") if (directory / "run.json").exists()]
    return sorted(runs, key=lambda directory: (directory / "run.json").stat().st_mtime, reverse=True)[:_MOST_RUNS]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _serve(path: Path) -> HTMLResponse:
    try:
        return _respond(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise HTTPException(404, "there is no such report") from None


def _answer_later(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Airflow's database does not answer; try again"}, status_code=503, headers={"Retry-After": "10"})


def _respond(content: str) -> HTMLResponse:
    return HTMLResponse(content, headers=_HEADERS)


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Nightshift</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1a1a2e; background: #fff }
  @media (prefers-color-scheme: dark) { body { color: #e6e6f0; background: #16161d } a { color: #8ab4ff } }
  table { border-collapse: collapse } th, td { text-align: left; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #8884 }
  td a { margin-right: .8rem }
</style>
<h1>Nightshift</h1>
<table><thead><tr><th>Partition<th>DAG<th>Run<th>Opened<th>Reports</tr></thead><tbody>{rows}</tbody></table></html>
"""
