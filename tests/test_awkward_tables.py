"""Tables as they come, through the real stages: odd names, many columns, and outcomes and declarations that cannot be used.

`check` must refuse, before anything runs, each table and each declaration that a stage refuses.
"""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.lib.core.use_cases import find, write_into
from pipelines.lib.declarations import derivation
from pipelines.lib.published.delta_tables import read_scores
from pipelines.scoring import publish_scores
from pipelines.use_case.check import check
from tests import rides
from tests.laptop_stages import HISTORY, NIGHT, first_failure

pytestmark = pytest.mark.costly

ODD = {
    "ride": "ride id",
    "started_at": "at.time",
    "city": 'Stadt "Ort"',
    "distance": "it's; --",
    "electric": "select",
    "minutes_late": "späte 分",
}
"""A space, a dot, quotes, a statement's end, a keyword, and other alphabets."""

SMALL = {"train": {"parameters": {"n_estimators": 10}, "minimum_rows": 100}}


def quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def odd_declaration(kind: str, width: int) -> dict[str, Any]:
    return {
        "dataset": {
            "source": {"kind": kind, "path": f"rides.{kind}"},
            "key": [ODD["ride"]],
            "event_time": ODD["started_at"],
            "label": {"name": "late", "expression": f"{quoted(ODD['minutes_late'])} >= 10", "delay_days": 2},
            "known_later": [ODD["minutes_late"]],
        },
        "features": {
            "numeric": {
                "distance": {"expression": quoted(ODD["distance"]), "missing": -1},
                "electric": {"expression": quoted(ODD["electric"]), "missing": 0},
                **{f"m_{number}": {"expression": f'"Maß {number}"', "missing": -1} for number in range(width)},
            },
            "categorical": {"city": {"expression": quoted(ODD["city"])}},
            "lagged": {"late_city": {"by": [quoted(ODD["city"])], "window_days": 14, "prior_weight": 20}},
        },
        **SMALL,
        "evaluate": {"minimum_auc": 0.3},  # outcomes that follow from nothing
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose published tables are its own."""
    rides.repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    return tmp_path


def open_workspace() -> None:
    """Derive what the declaration leaves open, and write the files that a run's workspace has."""
    use_case = find("rides", Path())
    derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
    assert check(Path(), ["rides"]) == []
    write_into(Path(), "rides")


def pin_model() -> None:
    """Pin the run to the model that it has just trained, as if it were registered."""
    run = yaml.safe_load(Path("run.yaml").read_text(encoding="utf-8"))
    digest = hashlib.sha256(Path(run["model"]["path"]).read_bytes()).hexdigest()
    run["model"] |= {"version": "1", "sha256": digest}
    run |= {"run_ref": "refs/runs/d/r", "git_commit": "c" * 40, "opened_at": "2024-09-02T02:00:00+00:00"}
    Path("run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "width"), [pytest.param("parquet", 300, marks=pytest.mark.slow), ("csv", 20)])
def test_a_table_of_odd_names_and_300_columns_is_trained_on_scored_and_published(here: Path, kind: str, width: int) -> None:
    names = ", ".join(f"{column} AS {quoted(name)}" for column, name in ODD.items())
    wide = ", ".join(f'(distance + {number}) AS "Maß {number}"' for number in range(width))
    rides.write(Path(f"rides.{kind}"), f"SELECT {names}, {wide} FROM ({rides.rides(per_day=30)})")
    rides.declare(here, odd_declaration(kind, width))
    open_workspace()
    assert first_failure(*HISTORY) is None
    pin_model()
    assert first_failure(*NIGHT) is None
    assert publish_scores.main(["--scores", "data/scores/scores.parquet", "--gate", "data/reports/validate_scores"]) == 0
    night = yaml.safe_load(Path("run.yaml").read_text(encoding="utf-8"))["partition"]
    published = read_scores(night)
    assert ODD["ride"] in published.column_names
    assert published.num_rows == pq.read_metadata("data/features/batch.parquet").num_rows == 30
    features = pq.read_table("data/features/batch.parquet")
    wanted = [value + width - 1 for value in features["distance"].to_pylist()]
    assert features[f"m_{width - 1}"].to_pylist() == pytest.approx(wanted, abs=1e-4)  # each is rounded to a float32


def plain_declaration(**sections: Any) -> dict[str, Any]:
    """Declare all that could be derived, so that a run needs no look at the history."""
    declared: dict[str, Any] = {**rides.DECLARED, **SMALL, "first_run": {"partition": "2024-03-01", "shards": []}}
    columns = {
        "ride": {"type": "string"}, "started_at": {"type": "timestamp"}, "minutes_late": {"type": "integer", "nulls": 1},
        "distance": {"type": "float"}, "electric": {"type": "boolean"}, "city": {"type": "string", "nulls": 0.2},
    }  # fmt: skip
    declared["dataset"] = {**rides.DECLARED["dataset"], "columns": columns}
    for section, content in sections.items():
        declared[section] = {**declared.get(section, {}), **content}
    return declared


def label(expression: str, name: str = "late") -> dict[str, Any]:
    return {"label": {"name": name, "expression": expression, "delay_days": 2}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "sections", "stage", "error", "said", "checked"),
    [
        ("3 AS minutes_late", {}, "train", "DataError", "labels before the holdout are 0; a classifier needs both. Check dataset.label.expression", "which is False for all"),
        ("12 AS minutes_late", {}, "train", "DataError", "labels before the holdout are 1; a classifier needs both. Check dataset.label.expression", "which is True for all"),
        ("NULL::INT AS minutes_late", {}, "validate_history", "GateFailed", "late", "which is NULL for every row"),
        ("", {"dataset": label("minutes_late")}, "validate_history", "ConfigError", "dataset.label.expression is 'minutes_late', which is a BIGINT; compare it", "must be a BOOLEAN"),
        ("", {"dataset": label("city")}, "validate_history", "ConfigError", "dataset.label.expression is 'city', which is a VARCHAR; compare it", "must be a BOOLEAN"),
        ("", {"dataset": label("cty = 'Bonn'")}, "validate_history", "ConfigError", "cty", "cty"),
        ("", {"dataset": label("minutes_late >= 10", "CITY")}, "ingest_history", "ConfigError", "label.name 'CITY' differs from the column 'city' only by case", "only by case"),
        ("", {"features": {"categorical": {"city": {"values": [False]}}}}, "ingest_history", "ConfigError", 'YAML reads no, off and false as booleans; write it in quotes, for example "no"', 'write values: ["no"]'),
        ("", {"features": {"categorical": {"city": {"values": [1, 2]}}}}, "ingest_history", "ConfigError", 'YAML reads 1 as a number; write it in quotes, for example "1"', 'write values: ["1", "2"]'),
        ("", {"train": {"parameters": {"max_depht": 4}}}, "train", "ConfigError", "max_depht", "did you mean max_depth?"),
        ("", {"train": {"parameters": {"n_estimators": "ten"}, "minimum_rows": 100}}, "train", "ConfigError", "n_estimators", "is 'ten'. It must be an int"),
        ("", {"evaluate": {"slices": ["cty"]}}, "evaluate", "ConfigError", "cty", "did you mean city?"),
        ("", {"evaluate": {"slices": ["City"]}}, "evaluate", "ConfigError", "City", "did you mean city?"),
    ],
)  # fmt: skip
def test_what_a_stage_refuses_check_refuses_before_anything_runs(
    here: Path, rows: str, sections: dict[str, Any], stage: str, error: str, said: str, checked: str
) -> None:
    query = f"SELECT * {f'REPLACE ({rows})' if rows else ''} FROM ({rides.rides(per_day=30)})"
    rides.write(Path("rides.parquet"), query)
    rides.declare(here, plain_declaration(**sections))
    assert any(checked in str(fault) for fault in check(Path(), ["rides"])), [str(fault) for fault in check(Path(), ["rides"])]
    write_into(here, "rides")
    found = first_failure(*HISTORY)
    assert found is not None
    name, failure = found
    assert (name, failure["error"], failure["retryable"]) == (stage, error, False), failure
    assert said in failure["message"], failure["message"]
