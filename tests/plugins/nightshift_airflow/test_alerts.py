"""The content of an alert, and the run that is made of it."""

import json

import pytest

FIRING = {
    "status": "firing",
    "labels": {"alertname": "ModelDrift", "partition": "2013-06-01", "champion_version": "3"},
    "annotations": {"summary": "dep_delay has moved"},
}


def read(**changes):
    from nightshift_airflow.alerts import Alert, read_drift

    return read_drift(Alert.model_validate({**FIRING, **changes}))


def labels(**changes):
    return {key: value for key, value in {**FIRING["labels"], **changes}.items() if value is not None}


@pytest.mark.costly
def test_an_alert_asks_for_the_run_that_the_monitor_would_ask_for():
    from nightshift_airflow.alerts import DAG

    from pipelines.monitoring.alert import DAG as MONITORED
    from pipelines.monitoring.alert import Decision, run_id_of

    drift, faults = read()
    assert faults == []
    assert drift.run_id == run_id_of(Decision(name="Core", retrain=True, reason="", partition="2013-06-01", champion_version="3"))
    assert drift.conf() == {"champion_version": "3", "reason": "ModelDrift: dep_delay has moved", "source": "alertmanager"}
    assert DAG == MONITORED


def test_annotations_serve_where_labels_are_silent_and_labels_win():
    drift, _ = read(
        labels={"alertname": "ModelDrift", "partition": "2013-06-01"}, annotations={"champion_version": "4", "partition": "2013-01-01"}
    )
    assert drift.run_id == "drift__4__2013-06-01"


@pytest.mark.parametrize(
    "value", ["", "2013-6-1", "2013-02-30", "2013-06-01\n", "２０１３-06-01", "../../etc/passwd", "2013-06-01T00:00", "x" * 10_000]
)
def test_a_bad_partition_is_named(value):
    drift, [fault] = read(labels=labels(partition=value))
    assert drift is None
    assert (fault["alert"], fault["label"]) == ("ModelDrift", "partition")
    assert len(fault["fault"]) < 250


@pytest.mark.parametrize("value", ["", "0", "03", "-1", "1.0", "v3", "3 ", "٣", "1234567890", "3__2013"])
def test_a_bad_version_is_named(value):
    drift, [fault] = read(labels=labels(champion_version=value))
    assert drift is None
    assert (fault["label"], fault["fault"]) == ("champion_version", f"is {value!r}; must be the number of a version, such as 7")


def test_missing_labels_are_named_both():
    drift, faults = read(labels={"alertname": "Other"})
    assert drift is None
    assert faults == [
        {"alert": "Other", "label": "partition", "fault": "missing; the rule has to set it"},
        {"alert": "Other", "label": "champion_version", "fault": "missing; the rule has to set it"},
    ]


def test_a_reason_is_short_printable_and_not_taken_from_a_label():
    drift, _ = read(labels=labels(reason="mine"), annotations={"summary": "a\x00b\x1b[31m\n" + "x" * 5000})
    assert len(drift.reason) <= 500
    assert drift.reason.isprintable()
    assert drift.reason.startswith("ModelDrift: a b")
    assert read(annotations={})[0].reason == "ModelDrift"


def test_unknown_fields_are_let_through_and_other_versions_are_not():
    from nightshift_airflow.alerts import Webhook
    from pydantic import ValidationError

    body = {"version": "4", "alerts": [{**FIRING, "fingerprint": "x", "new": {}}], "groupKey": "g", "truncatedAlerts": 0, "later": [1]}
    assert len(Webhook.model_validate_json(json.dumps(body)).alerts) == 1
    for bad in ({**body, "version": "5"}, {**body, "alerts": None}, {**body, "alerts": [{"status": "asleep"}]}, [], "text", None):
        with pytest.raises(ValidationError):
            Webhook.model_validate_json(json.dumps(bad))
