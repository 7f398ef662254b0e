"""The bar above a page links to what belongs to it, and to nothing that is not there."""

import json
from pathlib import Path

import pytest
from nightshift_airflow import links, navigation, places
from nightshift_airflow.navigation import MONITORING, NIGHTS, Link, of_model, of_report, opened_runs, put_around

EVERYTHING = {NIGHTS, MONITORING, "drift_triggered_retraining"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(places, "REPOSITORY", tmp_path)
    monkeypatch.delenv("NIGHTSHIFT_MLFLOW_UI_URL", raising=False)
    monkeypatch.setattr(links, "_base_url", lambda: "http://night.example:8080/airflow")
    return tmp_path / "home"


def run(home: Path, dag_id: str, run_id: str, partition: str, *stages: str, opened: str = "2026-01-01", version: str | None = None) -> Path:
    directory = home / "reports" / dag_id / run_id
    for stage in stages:
        (directory / stage).mkdir(parents=True)
        (directory / stage / "report.html").write_text("<p>")
    model = {"name": "Core", "version": version} if version else None
    opened_run = {"run_id": run_id, "partition": partition, "opened_at": opened, "model": model}
    (directory / "run.json").write_text(json.dumps({**opened_run, "tasks": ["open_run", "validate_batch", "score", "attach_evidence"]}))
    return directory


def card(home: Path, version: str) -> None:
    path = home / "reports" / "models" / "Core" / version / "model_card.html"
    path.parent.mkdir(parents=True)
    path.write_text("<p>")


def shown(bar: list[Link]) -> dict[str, str]:
    return {link.label: link.href for link in bar}


def at(*parts: str) -> str:
    return "/".join(["/airflow/nightshift", *parts])


def test_a_night_links_to_all_that_belongs_to_it(home: Path, tmp_path: Path) -> None:
    before = run(home, NIGHTS, "n1", "2013-04-01", "validate_batch")
    run(home, NIGHTS, "n3", "2013-04-03", "validate_batch")
    run(home, NIGHTS, "n4", "2013-04-05", "validate_batch")
    night = run(home, NIGHTS, "manual__a+b", "2013-04-02", "attach_evidence", "validate_batch", version="7")
    run(home, MONITORING, "m2", "2013-04-02", "report_drift")
    card(home, "7")
    runbook = tmp_path / "docs" / "runbooks" / "gate-failed.md"
    runbook.parent.mkdir(parents=True)
    runbook.write_text("# A gate failed")
    bar = of_report(night, "validate_batch", EVERYTHING)
    assert shown(bar) == {
        "All runs": at(""),
        "Run in Airflow": f"/airflow/dags/{NIGHTS}/runs/manual__a%2Bb",
        "attach_evidence": at("reports", NIGHTS, night.name.replace("+", "%2B"), "attach_evidence"),
        "← 2013-04-01": at("reports", NIGHTS, before.name, "validate_batch"),
        "2013-04-03 →": at("reports", NIGHTS, "n3", "validate_batch"),
        "Drift of 2013-04-02": at("reports", MONITORING, "m2", "report_drift"),
        "Core 7": at("models", "Core", "7"),
        "Runbook: gate-failed": at("runbooks", "gate-failed"),
    }
    assert [link.label for link in bar if link.outside] == ["Run in Airflow"]


def test_nothing_is_linked_that_is_not_there_or_not_for_this_user(home: Path) -> None:
    run(home, NIGHTS, "n1", "2013-04-01", "score")  # has no page of this gate
    run(home, MONITORING, "m2", "2013-04-02", "report_drift")
    night = run(home, NIGHTS, "n2", "2013-04-02", "validate_batch", version="7")
    assert list(shown(of_report(night, "validate_batch", {NIGHTS}))) == ["All runs", "Run in Airflow"]


def test_of_a_night_that_ran_twice_the_newer_run_is_linked(home: Path) -> None:
    run(home, NIGHTS, "z_older", "2013-04-01", "score", opened="2026-01-01T02:00")
    run(home, NIGHTS, "a_newer", "2013-04-01", "score", opened="2026-01-01T03:00")
    night = run(home, NIGHTS, "n2", "2013-04-02", "score")
    assert shown(of_report(night, "score", EVERYTHING))["← 2013-04-01"] == at("reports", NIGHTS, "a_newer", "score")


def test_the_pages_of_a_run_come_in_the_order_of_its_tasks(home: Path) -> None:
    run(home, NIGHTS, "n1", "2013-04-01", "unknown", "attach_evidence", "score", "validate_batch")
    [found] = opened_runs(NIGHTS)
    assert found.pages() == ["validate_batch", "score", "attach_evidence", "unknown"]


def test_a_drift_report_links_to_its_night_and_a_retraining_to_both_models(home: Path) -> None:
    run(home, NIGHTS, "n2", "2013-04-02", "validate_batch")
    drift = run(home, MONITORING, "m2", "2013-04-02", "report_drift")
    assert shown(of_report(drift, "report_drift", EVERYTHING))["Night of 2013-04-02"] == at("reports", NIGHTS, "n2", "validate_batch")
    training = run(home, "drift_triggered_retraining", "r", "2013-04-02", "decide", "register", version="7")
    (training / "register" / "report.json").write_text(json.dumps({"name": "Core", "version": "8"}))
    for version in ("7", "8"):
        card(home, version)
    bar = shown(of_report(training, "decide", EVERYTHING))
    assert (bar["Core 7"], bar["Core 8"]) == (at("models", "Core", "7"), at("models", "Core", "8"))


def test_a_card_links_to_the_run_that_registered_it_and_to_its_neighbours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = run(home, "drift_triggered_retraining", "r", "2013-04-02", "decide", "register")
    (training / "register" / "report.json").write_text(json.dumps({"name": "Core", "version": "9"}))
    for version in ("2", "8", "9", "10", "11"):
        card(home, version)
    monkeypatch.setenv("NIGHTSHIFT_MLFLOW_UI_URL", "https://mlflow.example")
    bar = shown(of_model("Core", "9", EVERYTHING))
    assert bar == {
        "All runs": at(""),
        "Run of 2013-04-02 that registered it": "/airflow/dags/drift_triggered_retraining/runs/r",
        "decide": at("reports", "drift_triggered_retraining", "r", "decide"),
        "register": at("reports", "drift_triggered_retraining", "r", "register"),
        "MLflow": "https://mlflow.example/#/models/Core/versions/9",
        "← version 8": at("models", "Core", "8"),
        "version 10 →": at("models", "Core", "10"),
    }


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"run_id": "", "partition": 5}', "{"])
def test_a_run_that_does_not_say_which_it_is_has_a_bar_all_the_same(home: Path, content: str) -> None:
    night = run(home, NIGHTS, "n1", "2013-04-01", "score")
    (night / "run.json").write_text(content)
    assert list(shown(of_report(night, "score", EVERYTHING))) == ["All runs"]
    (night / "run.json").unlink()
    assert list(shown(of_report(night, "score", EVERYTHING))) == ["All runs"]


@pytest.mark.parametrize("page", ['<!doctype html><html><body class="a"><h1>x</h1></body></html>', "<h1>x</h1>"])
def test_the_bar_stands_before_the_content_and_data_forges_none_of_it(page: str) -> None:
    served = put_around(page, [Link('<b>"', 'javascript"><script>', outside=True)])
    assert served.index("<nav") < served.index("<h1>x</h1>")
    assert '<a href="javascript&quot;&gt;&lt;script&gt;" target=_top>&lt;b&gt;&quot;</a>' in served
    assert served.replace(served[served.index("<nav") : served.index("</style>") + 8], "") == page


def test_every_runbook_that_a_page_links_to_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REPOSITORY", Path(__file__).resolve().parents[3])
    names = {*navigation._RUNBOOKS.values(), "gate-failed", "rollback", "champion-broken", "approval-waiting"}
    assert names <= set(navigation.runbooks.names())
