"""The pages under ``/nightshift``: recent runs, reports, model cards, runbooks; read-only, and for nobody without a login. And `alerts`.

Every route asks Airflow's own authentication (header or the UI's cookie) and authorisation. Path parts are matched whole against strict
patterns before a path is made of them. The content is served without any right to run scripts: reports quote rows of other people's data.
"""

from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_asset, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi import Path as PathPart
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy.exc import OperationalError

from nightshift_airflow import frame, links, navigation, runbooks, use_cases
from nightshift_airflow.alerts import known_user, receive_alerts
from nightshift_airflow.places import home

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
Document = Annotated[str, PathPart(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,79}$")]
Version = Annotated[str, PathPart(pattern=r"^[0-9]{1,9}$")]

may_read_run = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))
logged_in = Depends(get_user)
may_read_assets = Depends(requires_access_asset(method="GET"))


def make_app() -> FastAPI:
    """Return the application; without the pages that FastAPI adds by itself, since those ask nobody for a login."""
    app = FastAPI(title="Nightshift", docs_url=None, redoc_url=None, openapi_url=None)
    app.dependency_overrides[get_user] = known_user
    app.get("/", response_class=HTMLResponse)(list_runs)
    app.get("/reports/{dag_id}/{slug}/{stage}", response_class=HTMLResponse, dependencies=[may_read_run])(show_report)
    app.get("/models/{name}/{version}", response_class=HTMLResponse, dependencies=[may_read_assets])(show_model)
    app.get("/runbooks/{name}", response_class=HTMLResponse, dependencies=[logged_in])(show_runbook)
    app.get("/docs/{name}", response_class=HTMLResponse, dependencies=[logged_in])(show_document)
    app.post("/alerts")(receive_alerts)
    app.add_exception_handler(OperationalError, _answer_later)
    return app


def list_runs(user: GetUserDep, use_case: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
    """Return the latest runs of the DAGs that the user may read, or of those of one use case, each with links to itself in Airflow and to its reports.

    A use case that was removed is among them: its reports stay.
    """
    dags = _by_use_case(_readable(user))
    if use_case and use_case not in dags:
        raise HTTPException(404, "no use case of this name has left a report")
    shown = dags[use_case] if use_case else set().union(*dags.values())
    page = frame.list_of_runs(_latest_runs(shown), use_cases.broken(), list(dags), use_case)
    return _respond(navigation.put_around(page, _runbook_links()))


def show_report(dag_id: DagId, slug: Slug, stage: Stage, user: GetUserDep) -> HTMLResponse:
    """Return the page that a stage of a run wrote, below links to what belongs to it."""
    directory = home() / "reports" / dag_id / slug
    page = _read(directory / stage / "report.html")
    return _respond(navigation.put_around(page, navigation.of_report(directory, stage, _readable(user))))


def show_model(name: ModelName, version: Version, user: GetUserDep) -> HTMLResponse:
    """Return the card of a registered model version, below links to what belongs to it."""
    page = _read(home() / "reports" / "models" / name / version / "model_card.html")
    return _respond(navigation.put_around(page, navigation.of_model(name, version, _readable(user))))


def show_runbook(name: Document) -> HTMLResponse:
    """Return a runbook."""
    return _document(name, "runbooks")


def show_document(name: Document) -> HTMLResponse:
    """Return a page of the documentation."""
    return _document(name, "docs")


def _document(name: str, kind: str) -> HTMLResponse:
    try:
        title, content = runbooks.render(name, kind)
    except FileNotFoundError:
        raise HTTPException(404, "there is no such document") from None
    bar = [navigation.Link("All runs", f"{links.page()}/"), *_runbook_links()]
    return _respond(navigation.put_around(frame.frame(title, f"<article>{content}</article>"), bar))


def _runbook_links() -> list[navigation.Link]:
    return [navigation.Link(name, links.page("runbooks", name)) for name in runbooks.names()]


def _readable(user: Any) -> set[str]:
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def _by_use_case(dag_ids: set[str]) -> dict[str, set[str]]:
    """Return those of `dag_ids` that have reports by the name of their use case, the default one first."""
    default = use_cases.default_name()
    found: dict[str, set[str]] = {}
    for dag_id in dag_ids:
        if (home() / "reports" / dag_id).is_dir():
            found.setdefault(use_cases.name_of(dag_id) or default, set()).add(dag_id)
    return {name: found[name] for name in sorted(found, key=lambda name: (name != default, name))}


def _latest_runs(dag_ids: set[str]) -> list[navigation.Opened]:
    runs = [run for dag_id in dag_ids for run in navigation.opened_runs(dag_id)]
    return sorted(runs, key=lambda run: run.opened_at, reverse=True)[:_MOST_RUNS]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise HTTPException(404, "there is no such report") from None


def _answer_later(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Airflow's database does not answer; try again"}, status_code=503, headers={"Retry-After": "10"})


def _respond(content: str) -> HTMLResponse:
    return HTMLResponse(content, headers=_HEADERS)
