"""Buttons on a task in the UI: the gate's report, the model's card."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import attrs
from airflow.sdk import BaseOperatorLink

from nightshift_airflow import workspaces

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


def page(*parts: str) -> str:
    """Path of one of Nightshift's pages on this API server, below whatever path the server itself stands at."""
    from airflow.sdk.configuration import conf

    base = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return "/".join([f"{base}/nightshift", *(quote(part, safe="") for part in parts)])


@attrs.define()
class GateReport(BaseOperatorLink):
    """The report that this task's stage wrote."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """Where the report is, or an empty string where the stage writes none."""
        stage = operator.task_id
        if not (workspaces.reports_path(ti_key.dag_id, ti_key.run_id) / stage / "report.html").exists():
            return ""
        return page("reports", ti_key.dag_id, workspaces.slug_of(ti_key.run_id), stage)


@attrs.define()
class ModelCard(BaseOperatorLink):
    """The model that the run is pinned to."""

    name = "Model"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """The version's page in MLflow where ``NIGHTSHIFT_MLFLOW_UI_URL`` says where people reach it, else its card; empty without a version.

        Not where stages reach it (``MLFLOW_TRACKING_URI``): that may be a database, a name of an inner network, or hold a password.
        """
        import os

        import yaml

        workspace = workspaces.find_workspace(ti_key.dag_id, ti_key.run_id)
        model = yaml.safe_load((workspace.path / "run.yaml").read_text(encoding="utf-8")).get("model", {}) if workspace else {}
        if not model.get("version"):
            return ""
        if server := os.environ.get("NIGHTSHIFT_MLFLOW_UI_URL"):
            return f"{server.rstrip('/')}/#/models/{quote(model['name'])}/versions/{quote(model['version'])}"
        return page("models", model["name"], model["version"])
