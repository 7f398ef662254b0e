"""Realised performance, on a table that is not the flights: published for good, outcomes as they come, a journal that keeps up."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable
from sklearn.metrics import brier_score_loss, log_loss, mean_absolute_error, mean_squared_error, r2_score, roc_auc_score

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import DataError, TransientError
from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.measures.tasks import REGRESSION
from pipelines.lib.published import nights
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.published.store import scores_url
from pipelines.lib.records.journal import Journal, PerformanceRecord
from pipelines.monitoring.govern import outcome_of
from pipelines.monitoring.measure_performance import MeasurePerformance, main, measure_performance
from tests import scored_night
from tests.datasets import orders
from tests.registered_models import ROWS, Installation
from tests.stub_repository import git

pytestmark = pytest.mark.costly

NAME = "Orders"
PARAMS = MeasurePerformance(nights=5, slices=("channel",), slice_minimum_rows=30)
TABLE = orders.orders(days=16, per_day=150)
DATES = pc.strftime(TABLE["placed_at"], "%Y-%m-%d").to_pylist()
REFUND = TABLE.column_names.index("refund")


def of_date(table: pa.Table, date: str) -> pa.Table:
    return table.filter(pc.equal(pc.strftime(table["placed_at"], "%Y-%m-%d"), date))


def scores_of(rows: pa.Table, seed: int = 0) -> np.ndarray:
    """Return scores that depend on the outcome: float32 [n]."""
    outcome = pc.is_valid(rows["refund"]).to_numpy(zero_copy_only=False)
    return np.clip(0.15 + 0.1 * outcome + np.random.default_rng(seed).normal(0, 0.08, len(outcome)), 0.01, 0.99).astype(np.float32)


class Shop:
    """A repository in which nights are published and the stage runs, as a run's workspace. It has no ref of the runs that scored."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        orders.prepare(directory, TABLE)
        (directory / ".dvc").mkdir()
        (directory / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        git(directory, "init", "--quiet")
        git(directory, "commit", "--quiet", "--allow-empty", "--message", "start")
        params = parse_yaml((directory / "params.yaml").read_text()) | {
            "measure_performance": {**PARAMS.model_dump(), "slices": ["channel"]}
        }
        (directory / "params.yaml").write_text(yaml.safe_dump(params))
        (directory / "model.onnx").write_bytes(scored_night.onnx_bytes())
        self.model_sha256 = sha256_of(directory / "model.onnx")

    def publish(
        self, date: str, version: str = "1", rows: int | None = None, run: str | None = None, scores: np.ndarray | None = None
    ) -> None:
        night = of_date(TABLE, date).slice(0, rows)
        scored = night.select(["order_id"]).append_column("score", pa.array(scores_of(night) if scores is None else scores))
        scored = scored.append_column("decision", pa.array([False] * night.num_rows))
        pq.write_table(scored, self.directory / "scores.parquet")
        opened = datetime(2024, 2, 1, tzinfo=UTC)
        lineage = Lineage(date, NAME, version, self.model_sha256, run or f"run-{date}", f"refs/runs/{run or date}", "0" * 40, False, opened)
        publish(self.directory / "scores.parquet", lineage, expected_rows=night.num_rows)

    def deliver(self, table: pa.Table) -> None:
        orders.write(table, self.directory / "orders.parquet")

    def measure(self, partition: str, version: str = "1") -> dict:
        model = {"path": "model.onnx", "name": NAME, "version": version, "sha256": self.model_sha256}
        (self.directory / "run.yaml").write_text(yaml.safe_dump({"partition": partition, "model": model}))
        if main([]):
            raise DataError(json.loads(Path("failure.json").read_text())["message"])
        return json.loads(Path("data/reports/measure_performance/report.json").read_text())

    def performance(self) -> dict[str, PerformanceRecord]:
        return {record.partition: record for record in Journal(ledger_url()).performance(NAME)}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path)


def replaced(date: str, row: int, refund: float | None) -> pa.Table:
    """Return the table with another refund of the order `row` of `date`."""
    refunds = TABLE["refund"].to_pylist()
    refunds[DATES.index(date) + row] = refund
    return TABLE.set_column(REFUND, "refund", pa.array(refunds, pa.float64()))


def test_figures_are_those_of_scikit_learn() -> None:
    night = of_date(TABLE, "2024-01-03")
    labels, scores = pc.is_valid(night["refund"]).to_numpy(zero_copy_only=False).astype(np.int8), scores_of(night)
    rows = night.select(["channel"]).append_column("score", pa.array(scores)).append_column("outcome", pa.array(labels))
    figures, slices = measure_performance(rows, PARAMS)
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert figures["auc_low"] < figures["auc"] < figures["auc_high"]
    assert figures["log_loss"] == pytest.approx(log_loss(labels, scores.astype(float)), abs=1e-6)
    assert figures["brier"] == pytest.approx(brier_score_loss(labels, scores), abs=1e-6)
    assert (figures["mean_score"], figures["positive_rate"]) == pytest.approx((scores.mean(), labels.mean()), abs=1e-6)
    assert [(found["column"], found["value"]) for found in slices] == [("channel", "app"), ("channel", "shop"), ("channel", "web")]
    app = pc.equal(night["channel"], "app").fill_null(False).to_numpy(zero_copy_only=False)
    assert slices[0]["auc"] == pytest.approx(roc_auc_score(labels[app], scores[app]), abs=1e-6)


def test_figures_of_forecasts_are_those_of_scikit_learn() -> None:
    night, rng = of_date(TABLE, "2024-01-03"), np.random.default_rng(5)
    labels = rng.gamma(2.0, 20.0, night.num_rows)
    scores = (labels + rng.normal(0, 10, night.num_rows)).astype(np.float32)
    rows = night.select(["channel"]).append_column("score", pa.array(scores)).append_column("outcome", pa.array(labels))
    figures, slices = measure_performance(rows, PARAMS, REGRESSION)
    app = pc.equal(night["channel"], "app").fill_null(False).to_numpy(zero_copy_only=False)
    for found, part in ((figures, np.full(len(labels), True)), (slices[0], app)):
        assert found["rows"] == part.sum()
        assert found["r2"] == pytest.approx(r2_score(labels[part], scores[part].astype(float)), abs=1e-6)
        assert found["r2_low"] < found["r2"] < found["r2_high"]
        assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(labels[part], scores[part].astype(float)))
        assert found["root_mean_squared_error"] ** 2 == pytest.approx(mean_squared_error(labels[part], scores[part].astype(float)))
        assert (found["mean_label"], found["mean_score"]) == pytest.approx((labels[part].mean(), scores[part].astype(float).mean()))
    assert outcome_of(PerformanceRecord("m", "2024-01-03", "1", "", 9, figures), "regression").quality == figures["r2"]


def test_a_night_is_measured_once_its_outcomes_are_known(shop: Shop) -> None:
    for day in range(1, 5):
        shop.publish(f"2024-01-{day:02d}")
    assert shop.measure("2024-01-04")["nights"] == []
    report = shop.measure("2024-01-06")
    assert report["recorded"] == ["2024-01-01", "2024-01-02"]
    assert [night["partition"] for night in report["nights"]] == ["2024-01-01", "2024-01-02"]
    assert report["note"].startswith("AUC of 2024-01-02 ")
    seen = shop.performance()["2024-01-01"]
    assert (seen.rows, seen.figures["scored"], seen.revision) == (DATES.count("2024-01-01"), DATES.count("2024-01-01"), 1)
    assert shop.measure("2024-01-06")["recorded"] == []
    assert shop.measure("2024-01-07")["recorded"] == ["2024-01-03"]


def test_corrected_outcomes_are_another_revision_of_their_own_night_alone(shop: Shop) -> None:
    for day in range(1, 4):
        shop.publish(f"2024-01-{day:02d}")
    shop.measure("2024-01-09")
    before = shop.performance()
    returned = of_date(TABLE, "2024-01-02")["refund"][5].as_py()
    shop.deliver(replaced("2024-01-02", 5, None if returned else 9.5))
    report = shop.measure("2024-01-10")
    assert (report["recorded"], report["corrected"]) == (["2024-01-02"], ["2024-01-02"])
    assert "corrected outcomes: 2024-01-02" in report["note"]
    after = shop.performance()
    assert {date: record.revision for date, record in after.items()} == {"2024-01-01": 1, "2024-01-02": 2, "2024-01-03": 1}
    assert after["2024-01-02"].figures["positive_rate"] != before["2024-01-02"].figures["positive_rate"]
    assert (after["2024-01-01"], after["2024-01-03"]) == (before["2024-01-01"], before["2024-01-03"])


def test_outcomes_that_come_late_fill_the_night_in(shop: Shop) -> None:
    params = parse_yaml(Path("params.yaml").read_text())
    params["dataset"]["label"]["expression"] = "refund > 20"  # NULL: nothing has come
    Path("params.yaml").write_text(yaml.safe_dump(params))
    shop.publish("2024-01-02")
    shop.deliver(TABLE.set_column(REFUND, "refund", pa.array([None] * len(TABLE), pa.float64())))
    assert shop.measure("2024-01-06")["recorded"] == ["2024-01-02"]
    assert (shop.performance()["2024-01-02"].rows, shop.performance()["2024-01-02"].figures["auc"]) == (0, None)
    shop.deliver(TABLE)
    assert shop.measure("2024-01-07")["recorded"] == ["2024-01-02"]
    seen = shop.performance()["2024-01-02"]
    assert (seen.revision, seen.rows) == (2, pc.count(of_date(TABLE, "2024-01-02")["refund"]).as_py())


def test_rows_that_come_twice_count_once_and_a_contradicted_night_is_left_out_and_told(shop: Shop) -> None:
    for day in (2, 4):
        shop.publish(f"2024-01-{day:02d}")
    shop.measure("2024-01-06")
    before = shop.performance()
    shop.deliver(pa.concat_tables([TABLE, of_date(TABLE, "2024-01-02")]))
    assert shop.measure("2024-01-06")["recorded"] == []
    returned = of_date(TABLE, "2024-01-02")["refund"][5].as_py()
    shop.deliver(pa.concat_tables([TABLE, of_date(replaced("2024-01-02", 5, None if returned else 9.5), "2024-01-02")]))
    key = of_date(TABLE, "2024-01-02")["order_id"][5].as_py()
    report = shop.measure("2024-01-08")
    fault = report["contradicted"]["2024-01-02"]
    assert list(report["contradicted"]) == ["2024-01-02"]
    assert fault.startswith(f"the row with order_id {key} was delivered 2 times with different outcomes of 'returned'")
    assert report["note"].endswith(f"not measured for contradicting outcomes: 2024-01-02 ({fault})")
    assert report["recorded"] == ["2024-01-04"], "the other nights go on"
    assert {date: record for date, record in shop.performance().items() if date in before} == before
    shop.deliver(TABLE)
    assert shop.measure("2024-01-08")["contradicted"] == {}


@pytest.mark.parametrize(("column", "kind", "first"), [("placed_at", "timestamp", "2024-01-02 "), ("placed_on", "date", "2024-01-02")])
def test_a_slice_of_dates_is_recorded(shop: Shop, column: str, kind: str, first: str) -> None:
    params = parse_yaml(Path("params.yaml").read_text())
    params["dataset"]["columns"][column] = {"type": kind}
    params["measure_performance"] |= {"slices": [column], "slice_minimum_rows": 1}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    shop.deliver(TABLE.append_column("placed_on", pc.cast(TABLE["placed_at"], pa.date32())))
    shop.publish("2024-01-02")
    report = shop.measure("2024-01-06")
    slices = shop.performance()["2024-01-02"].slices
    assert slices[0]["value"].startswith(first)
    assert report["nights"][0]["slices"] == slices
    assert sum(part["rows"] for part in slices) == DATES.count("2024-01-02")


def test_three_rows_are_measured_as_far_as_they_go(shop: Shop) -> None:
    shop.publish("2024-01-02", rows=3)
    assert shop.measure("2024-01-06")["recorded"] == ["2024-01-02"]
    seen = shop.performance()["2024-01-02"]
    assert (seen.rows, seen.slices, seen.figures["calibration_error"]) == (3, [], None)
    assert seen.figures["log_loss"] is not None


def test_only_the_last_nights_are_looked_at_again(shop: Shop) -> None:
    for day in range(1, 8):
        shop.publish(f"2024-01-{day:02d}")
    assert shop.measure("2024-01-15")["recorded"] == [f"2024-01-{day:02d}" for day in range(3, 8)]


def test_a_night_that_another_version_published_again_is_measured_again(shop: Shop) -> None:
    shop.publish("2024-01-02")
    shop.measure("2024-01-06")
    shop.publish("2024-01-02", version="2")
    assert shop.measure("2024-01-06", version="2")["recorded"] == ["2024-01-02"]
    assert (shop.performance()["2024-01-02"].version, shop.performance()["2024-01-02"].revision) == ("2", 2)


def test_a_night_that_the_same_version_published_again_is_measured_again(shop: Shop) -> None:
    """From a corrected source: the same version and outcomes, other scores."""
    night = of_date(TABLE, "2024-01-02")
    labels = pc.is_valid(night["refund"]).to_numpy(zero_copy_only=False)
    blind = np.random.default_rng(3).random(night.num_rows).astype(np.float32)
    for day in range(1, 4):
        shop.publish(f"2024-01-{day:02d}")
    shop.publish("2024-01-02", run="first", scores=blind)
    assert shop.measure("2024-01-06")["corrected"] == []
    before = shop.performance()
    assert before["2024-01-02"].figures["auc"] == pytest.approx(roc_auc_score(labels, blind), abs=1e-6)
    shop.publish("2024-01-02", run="second")
    report = shop.measure("2024-01-06")
    assert (report["recorded"], report["rescored"], report["corrected"]) == (["2024-01-02"], ["2024-01-02"], [])
    assert "published again: 2024-01-02" in report["note"]
    after = shop.performance()
    assert after["2024-01-02"].figures["auc"] == pytest.approx(roc_auc_score(labels, scores_of(night)), abs=1e-6)
    assert (after["2024-01-02"].revision, after["2024-01-01"]) == (2, before["2024-01-01"])
    assert shop.measure("2024-01-06")["recorded"] == [], "once is enough"
    shop.publish("2024-01-02", run="second")
    assert shop.measure("2024-01-06")["recorded"] == [], "the same rows are the same publication"


def test_rows_that_were_changed_by_hand_are_measured_again(shop: Shop) -> None:
    shop.publish("2024-01-02")
    shop.measure("2024-01-06")
    gone = of_date(TABLE, "2024-01-02")["order_id"][0].as_py()
    DeltaTable(scores_url()).delete(f"order_id = '{gone}'")
    assert shop.measure("2024-01-06")["recorded"] == ["2024-01-02"]
    assert shop.performance()["2024-01-02"].rows == DATES.count("2024-01-02") - 1


def test_figures_of_replaced_scores_are_not_reported(shop: Shop) -> None:
    """The night cannot be measured again, since its outcomes contradict each other, and what is recorded is about scores that are gone."""
    for day in (2, 3):
        shop.publish(f"2024-01-{day:02d}")
    shop.measure("2024-01-07")
    returned = of_date(TABLE, "2024-01-02")["refund"][5].as_py()
    shop.deliver(pa.concat_tables([TABLE, of_date(replaced("2024-01-02", 5, None if returned else 9.5), "2024-01-02")]))
    assert [night["partition"] for night in shop.measure("2024-01-07")["nights"]] == ["2024-01-02", "2024-01-03"]
    shop.publish("2024-01-02", run="second")
    report = shop.measure("2024-01-07")
    assert list(report["contradicted"]) == ["2024-01-02"]
    assert [night["partition"] for night in report["nights"]] == ["2024-01-03"]


def test_a_night_that_an_earlier_nightshift_measured_is_measured_again(shop: Shop) -> None:
    """It did not know what it measured, so nobody knows whether it was this."""
    shop.publish("2024-01-02")
    shop.measure("2024-01-06")
    [seen] = shop.performance().values()
    Journal(ledger_url()).record_performance(replace(seen, publication="", figures={"auc": 0.1}))
    assert shop.measure("2024-01-06")["rescored"] == []
    assert shop.performance()["2024-01-02"].figures == seen.figures


@pytest.mark.slow
def test_the_importances_of_a_night_are_measured_on_what_its_run_recorded(installation_of_three: Installation) -> None:
    night = scored_night.features_table(ROWS)
    delay = pa.array(np.where(night["a"].to_numpy() > 0, 60, 0))  # `a` tells the outcome, and the model looks at `a`
    params = parse_yaml(Path("params.yaml").read_text())
    absent = {name: pa.nulls(ROWS, pa.int64()) for name in params["dataset"]["columns"]}
    orders.write(pa.table({**absent, **{key: night[key] for key in scored_night.ORDER}, "arr_delay": delay}), Path("flights.parquet"))
    params["dataset"]["source"] = {"kind": "parquet", "path": "flights.parquet"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    installation_of_three.publish("1")
    version = installation_of_three.versions["1"]
    model = {"path": version.model_uri, "name": version.name, "version": "1", "sha256": version.sha256}
    Path("run.yaml").write_text(yaml.safe_dump({"partition": "2013-04-03", "model": model}))
    assert main([]) == 0
    [seen] = installation_of_three.journal.performance(version.name)
    assert (seen.rows, seen.figures["auc"] > 0.9) == (ROWS, True)
    found = seen.figures["importances"]
    assert max(found, key=lambda feature: found[feature]) == "a"
    assert found["a"] > 0.3
    assert [(part["column"], part["value"]) for part in seen.slices] == [
        *(("origin", origin) for origin in ("EWR", "JFK", "LGA")),
        *(("carrier", carrier) for carrier in ("UA", "Ünïted")),
    ]


def test_importances_that_did_not_come_this_time_are_tried_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night is measured once: what is left out now would stay out."""
    shop.publish("2024-01-02")
    fetch = nights.fetch

    def unreachable(run_ref: str, path: str, target: Path) -> None:
        raise TransientError(f"{path} of {run_ref} did not come")

    monkeypatch.setattr(nights, "fetch", unreachable)
    with pytest.raises(DataError, match="did not come"):
        shop.measure("2024-01-06")
    assert json.loads(Path("failure.json").read_text())["retryable"]
    assert shop.performance() == {}
    monkeypatch.setattr(nights, "fetch", fetch)
    assert shop.measure("2024-01-06")["recorded"] == ["2024-01-02"]


def test_a_night_whose_features_are_gone_is_measured_all_the_same(shop: Shop) -> None:
    shop.publish("2024-01-02")
    report = shop.measure("2024-01-06")
    seen = shop.performance()["2024-01-02"]
    assert seen.figures["importances"] is None
    assert seen.figures["auc"] is not None
    assert report["importance"] == {"nights": 0, "rows": 0, "ndcg": None, "features": []}
