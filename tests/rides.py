"""A table that the repository does not know: bicycle rides, written as Parquet or CSV, and a repository that declares it as a use case."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import duckdb
import yaml

ROOT = Path(__file__).resolve().parents[1]
FIRST, DAYS = dt.date(2024, 1, 1), 120
TODAY = dt.date(2024, 9, 2)

DECLARED: dict[str, Any] = {
    "dataset": {
        "source": {"kind": "parquet", "path": "rides.parquet"},
        "key": ["ride"],
        "event_time": "started_at",
        "label": {"name": "late", "expression": "minutes_late >= 10", "delay_days": 2},
        "known_later": ["minutes_late"],
    },
    "features": {
        "numeric": {"distance": {"missing": -1}, "electric": {"missing": 0}},
        "categorical": {"city": {}},
        "calendar": ["hour"],
        "lagged": {"late_city": {"by": ["city"], "window_days": 14, "prior_weight": 20}},
    },
}


def rides(*, first: dt.date = FIRST, days: int = DAYS, per_day: int = 100, weekend: float = 0.4) -> str:
    """Return SQL of `per_day` rides on weekdays, and the share `weekend` of them on Saturdays and Sundays; the same rows each time."""
    return f"""
        SELECT printf('r%07d', day * 1000 + number) AS ride,
            (DATE '{first}' + day)::TIMESTAMP + INTERVAL 1 MINUTE * ((number * 1440) // rides) + INTERVAL 30 SECOND AS started_at,
            CASE WHEN number % 25 = 0 THEN NULL ELSE list_extract(['Bonn', 'Köln', 'Mainz'], 1 + (number + day) % 3) END AS city,
            (number * 7919 + day * 104729) % 90 / 10 AS distance,
            (number + day) % 4 = 0 AS electric,
            (number * 31 + day * 17) % 13 AS minutes_late
        FROM (SELECT day, CASE WHEN isodow(DATE '{first}' + day) > 5 THEN CAST({per_day} * {weekend} AS INT) ELSE {per_day} END AS rides
              FROM (SELECT unnest(range({days}))::INT AS day)), LATERAL (SELECT unnest(range(rides))::INT AS number)
        ORDER BY started_at"""


def write(path: Path, query: str) -> Path:
    """Write the rows of `query` to `path`, a .parquet or .csv."""
    form = "parquet" if path.suffix == ".parquet" else "csv, header"
    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT {form})")
    return path


def repository(root: Path, declared: dict[str, Any] | None = None, name: str = "rides") -> Path:
    """Make a repository at `root` with the shipped default use case and the use case `name`; return the latter's declaration."""
    (root / "pipelines" / "suites").mkdir(parents=True, exist_ok=True)
    for file in (
        "params.yaml",
        "run.yaml",
        "pipelines/defaults.yaml",
        *(f"pipelines/suites/{one.name}" for one in (ROOT / "pipelines/suites").iterdir()),
    ):
        shutil.copyfile(ROOT / file, root / file)
    return declare(root, DECLARED if declared is None else declared, name)


def declare(root: Path, declared: dict[str, Any], name: str = "rides") -> Path:
    """Write `declared` as the declaration of the use case `name`, and return its path."""
    path = root / "use_cases" / name / "params.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(declared, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
