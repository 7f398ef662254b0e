"""The check of the files of a use case: what the model of a section refuses, and files that cannot be used."""

import datetime as dt
import re
from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import effective, find
from pipelines.lib.declarations.config_check import require_sound
from pipelines.use_case.check import check
from tests import rides
from tests.checked_rides import FILE, broken, setting

pytestmark = pytest.mark.usefixtures("checked_rides")


@pytest.mark.costly
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.max_depht", 4, r"train\.max_depht: is not a key that is known here; did you mean max_depth\?"),
        ("train.max_depth", "eight", r'train\.max_depth: is "eight"\. Input should be a valid integer'),
        ("train.max_depth", 0, r"train\.max_depth: is 0\. Input should be greater than or equal to 1"),
        ("nightly_batch_scoring.timezone", "Europe/Berln", r"timezone is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin\?"),
        ("nightly_batch_scoring.cron", "2 o'clock", r"cron is \"2 o'clock\"; write minute, hour, day, month and weekday"),
        ("nightly_batch_scoring.cron", "0 */2 * * *", r"cron is '0 \*/2 \* \* \*'; give it one time of day"),
        ("dataset.label.name", "City", r"dataset\.label\.name: 'City' differs from the column 'city' only by case"),
        ("dataset.weekdays", ["monday", "tusday"], r'dataset\.weekdays\.1: is "tusday"; did you mean tuesday\?'),
        ("dataset.weekdays", ["monday", "monday"], r"dataset\.weekdays: names a day twice: monday, monday; name each once"),
        ("dataset.source", {"kind": "excel", "path": "rides.xlsx"}, r'dataset\.source\.kind: is "excel"; write one of csv, delta, flights, parquet, sql'),
        ("dataset.label", {"name": "late", "expression": "minutes_late", "delay_days": 2}, r"dataset\.label\.expression: is a BIGINT; it must be a BOOLEAN"),
        ("trian", {"max_depth": 3}, r"trian: is an unknown section; did you mean train\?"),
    ],
)  # fmt: skip
def test_a_fault_of_the_files_is_named_with_its_remedy(key: str, value: object, expected: str | None) -> None:
    found = broken(setting(key, value))
    if expected is None:
        assert found == []
        return
    assert len(found) == 1, found
    assert found[0].startswith(f"{FILE}: ") or "code_bytes" in found[0]
    assert re.search(expected, found[0]), found[0]


def test_a_date_without_quotes_is_named() -> None:
    [fault] = broken(setting("ingest_history.start", dt.date(2024, 1, 5)))
    assert fault == f'{FILE}: ingest_history.start: is 2024-01-05, which YAML reads as a date; write "2024-01-05"'


def test_a_stale_file_is_named() -> None:
    rides.declare(Path(), {**rides.DECLARED, "features": {"calendar": ["hour"]}})
    found = [str(fault) for fault in check(Path(), ["rides"], config_only=True)]
    assert any("use_cases/rides/derived.yaml: derived_from.sha256: is " in fault and "derive rides --again" in fault for fault in found)


def test_a_run_with_a_section_of_another_kind_is_refused_and_not_retried() -> None:
    broken(setting("features.categorical", ["channel"]))
    with pytest.raises(
        ConfigError, match=r'rides has 1 fault: features\.categorical: is \["channel"\]\. .*such as categorical: \{channel: …\}'
    ):
        require_sound(effective(find("rides", Path())).params)
