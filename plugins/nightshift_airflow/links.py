"""Buttons on a task in the UI: the gate's report, the model's card."""

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import attrs
from airflow.sdk import BaseOperatorLink

from nightshift_airflow import places, workspaces

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


def page(*parts: str) -> str:
    """Return the path of one of Nightshift's pages on this API server, below the path of the server itself."""
    return airflow("nightshift", *parts)


def report(dag_id: str, run_id: str, stage: str) -> str:
    """Return the path of the page that `stage` of a run wrote."""
    return page("reports", dag_id, places.slug_of(run_id), stage)


def airflow(*parts: str) -> str:
    """Return the path of one of Airflow's own pages on this API server."""
    return "/".join([urlsplit(_base_url()).path.rstrip("/"), *(quote(part, safe="") for part in parts)])


def mlflow_version(name: str, version: str) -> str:
    """Return the page of a model's version in MLflow, where ``NIGHTSHIFT_MLFLOW_UI_URL`` says where people reach it; else empty."""
    server = os.environ.get("NIGHTSHIFT_MLFLOW_UI_URL", "")
    return f"{server.rstrip('/')}/#/models/{quote(name)}/versions/{quote(version)}" if server else ""


def _base_url() -> str:
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback=""))


@attrs.define()
class GateReport(BaseOperatorLink):
    """The report that this task's stage wrote."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """Return where the report is, or an empty string where the stage writes none."""
        stage = operator.task_id
        if not (places.reports_path(ti_key.dag_id, ti_key.run_id) / stage / "report.html").exists():
            return ""
        return report(ti_key.dag_id, ti_key.run_id, stage)


@attrs.define()
class ModelCard(BaseOperatorLink):
    """The model that the run is pinned to."""

    name = "Model"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """Return the version's page in MLflow where ``NIGHTSHIFT_MLFLOW_UI_URL`` says where people reach it, else its card; empty without a version.

        Not where stages reach it (``MLFLOW_TRACKING_URI``): that may be a database, a name of an inner network, or hold a password.
        """
        import yaml

        workspace = workspaces.find_workspace(ti_key.dag_id, ti_key.run_id)
        model = yaml.safe_load((workspace.path / "run.yaml").read_text(encoding="utf-8")).get("model", {}) if workspace else {}
        if not model.get("version"):
            return ""
        return mlflow_version(model["name"], model["version"]) or page("models", model["name"], model["version"])
