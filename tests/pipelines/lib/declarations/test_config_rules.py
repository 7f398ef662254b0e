"""The rules that sections follow together: each fault has its key, its value and its remedy."""

import datetime as dt
from typing import Any

import pytest

from tests.checked_rides import assert_the_only_fault, broken, setting

pytestmark = pytest.mark.usefixtures("checked_rides")


@pytest.mark.costly
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("evaluate.slices", ["cty"], r"evaluate\.slices: names 'cty', which is not there; did you mean city\?"),
        ("measure_performance.slices", ["hour"], r"measure_performance\.slices: names 'hour', which is not there; the columns are city, distance"),
        ("score.order_by", "distanc", r"score\.order_by: is 'distanc', which is not a feature; did you mean distance\?"),
        ("evaluate.golden", [{"change": {"distanze": 1.0}, "expect": "higher"}], r"evaluate\.golden\.0\.change: names 'distanze', .* did you mean distance\?"),
        ("validate_features.maximum_filler_excess_by_feature", {"x": 1}, r"names 'x', which is not there; the features are city, distance"),
        ("validate_scores.minimum_mean_score", 0.9999, None),
        ("validate_history.minimum_label_rate", 0.99, r"minimum_label_rate: is 0\.99, more than validate_history\.maximum_label_rate, which is 0\."),
        ("validate_scores.maximum_mean_score", 1.9, r"maximum_mean_score: is 1\.9, but scores are probabilities; write a number from 0 to 1"),
        ("validate_history.maximum_label_mean", 0.4, r"maximum_label_mean: is 0\.4, which limits labels that are numbers.*maximum_label_rate"),
        ("validate_history.suite", "suites/none.yaml", r"validate_history\.suite: is 'suites/none\.yaml': .*does not exist"),
        ("ingest_history.start", "2024-02-30", r"ingest_history\.start: is '2024-02-30', which is not in the calendar \(day is out of range for month\); write a date that is$"),
        ("pool.slots", "many", r'pool\.slots: is "many"\. It must be a whole number; write one, such as slots: 3$'),
        ("registry.name", None, r'registry\.name: is null\. It must be text; write name: "…"$'),
        ("dataset.label.delay_days", "soon", r'delay_days: is "soon"\. It must be a whole number; write one, such as delay_days: 3$'),
        ("dataset.time_zone", False, r"dataset\.time_zone: is no, which is not the name of a zone; write one such as Europe/Berlin$"),
        ("dataset.time_zone", 5, r"dataset\.time_zone: is 5, which is not the name of a zone; write one such as Europe/Berlin$"),
        ("dataset.time_zone", "UTC+2", r"is 'UTC\+2', which is not in the IANA database; an offset is not a zone: write the name of yours, such as"),
        ("measure_performance.slices", ["shop"], r"the columns are .*; if the source has it as a column that nothing uses yet, write dataset: \{columns: \{shop: \{type: string\}\}\}$"),
        ("features.categorical", {"city": {"values": [dt.date(2024, 1, 1)]}}, r'values\.0: is 2024-01-01, which YAML reads as a date; write "2024-01-01"$'),
        ("first_run.partition", "2023-12-01", r"first_run\.partition: is 2023-12-01, not after ingest_history\.start"),
        ("govern.refresh_days", 30, None),
        ("govern.refresh_days", None, None),
        ("govern.refresh_days", 0, r"govern\.refresh_days: is 0\. It must be at least 1; correct it"),
        ("govern.refresh_days", -7, r"govern\.refresh_days: is -7\. It must be at least 1; correct it"),
        ("govern.refresh_days", "monthly", r'govern\.refresh_days: is "monthly"\. It must be a whole number; write one, such as refresh_days: 3'),
        ("govern.refresh_days", 7.5, r"govern\.refresh_days: is 7\.5\. It must be a whole number; write one, such as refresh_days: 3"),
        ("registry.encoder", "rides_model", r"registry\.encoder: is 'rides_model', as registry\.name is; give the encoder a name of its own"),
        ("train_encoder.layers", [64, 12], r"code_bytes: is 8, which does not divide the dimension of the vectors, 12"),
        ("dataset.columns", {"city": {"type": "string", "values": [False]}}, r'dataset\.columns\.city\.values: holds False \(bool\), .* write values: \["no"\]'),
        ("dataset.columns", {"city": {"type": "string", "values": [1, 2]}}, r'values: holds 1 \(int\), 2 \(int\), .* write values: \["1", "2"\], or declare type: integer'),
        ("features.categorical", {"city": {"values": [1, 2]}}, r'features\.categorical\.city\.values: holds 1 \(int\).* write values: \["1", "2"\]'),
        ("features.categorical", {"city": {"values": False}}, r'features\.categorical\.city\.values: is false\. .*; write values: \["no"\]'),
        ("features.categorical", {"city": {"values": []}}, r"features\.categorical\.city\.values: is empty; write one at least, or take it out"),
        ("dataset.label.name", "", r"dataset\.label\.name: is empty; write a name"),
        ("features.numeric.speed", {"missing": 0}, r"features\.numeric\.speed: is '\"speed\"', but there is no column 'speed'"),
        ("features.numeric.late", {"expression": "minutes_late", "missing": 0}, r"shares its name with a key, the label"),
        ("features.numeric.delay", {"expression": "minutes_late", "missing": 0}, r"'minutes_late' is known only after the event \(dataset\.known_later\)"),
    ],
)  # fmt: skip
def test_a_fault_of_the_files_is_named_with_its_remedy(key: str, value: object, expected: str | None) -> None:
    assert_the_only_fault(broken(setting(key, value)), expected)


def test_a_cron_that_never_scores_a_weekday_with_rows_is_a_fault() -> None:
    def change(declared: dict[str, Any]) -> None:
        declared["dataset"]["weekdays"] = ["monday", "thursday"]
        declared["nightly_batch_scoring"] = {"cron": "0 3 * * 2", "replay_offset_days": 1}

    [fault] = broken(change)
    assert "nightly_batch_scoring.cron: is '0 3 * * 2' with replay_offset_days 1, so the rows of thursday are never scored" in fault
    assert 'write cron: "0 2 * * 2,5"' in fault
