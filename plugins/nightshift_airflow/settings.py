"""The settings that a DAG takes from its section of ``params.yaml``; read when the DAG is parsed, so nothing but YAML is imported for it."""

from typing import Any

import yaml

from nightshift_airflow.places import REPOSITORY


def load_settings(dag_id: str) -> dict[str, Any]:
    """Return the section of ``params.yaml`` that is named like the DAG. A missing section or key is an import error of the DAG."""
    content: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    return content[dag_id]
