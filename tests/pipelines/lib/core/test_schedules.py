"""The sections of the DAGs."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import read_yaml
from pipelines.lib.core.schedules import SCHEDULES, Clock, Nightly, check_schedules
from pipelines.lib.core.use_cases import DEFAULTS

PATIENCE: dict[str, Any] = {"retries": 3, "retry_first_s": 10, "retry_longest_s": 600, "task_timeout_minutes": 60}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"timezone": "Berlin"}, "timezone is 'Berlin', which is not in the IANA database"),
        ({"timezone": "../etc/passwd"}, "not in the IANA database"),
        ({"timezone": "Europe/Berln"}, "did you mean Europe/Berlin"),
        ({"replay_offset_days": 4_000_000}, "less than or equal to 36500"),
        ({"task_timeout_minutes": 1e12}, "less than or equal to 10080"),
        ({"cron": "0 25 * * *"}, "cron is '0 25"),
        ({"cron": "@daily"}, "cron is '@daily'"),
        ({"cron": "0 2 31 2 *"}, "a date that no year has; correct day and month"),
        ({"cron": "0 * * * *"}, "give it one time of day"),
        ({"retry_first_s": 700}, "more than retry_longest_s, 600; lower it"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_remedy(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Nightly.model_validate({**PATIENCE, "cron": "0 2 * * *", "timezone": "UTC", "replay_offset_days": 1, **changed})


def test_a_clock_may_strike_often() -> None:
    assert Clock.model_validate({**PATIENCE, "cron": "*/5 * * * *", "timezone": "Europe/Berlin"}).cron == "*/5 * * * *"


def test_each_dag_has_a_model_and_the_defaults_fit_it() -> None:
    root = Path(__file__).resolve().parents[4]
    assert set(SCHEDULES) == {file.stem for file in (root / "dags").glob("*.py")}
    check_schedules(read_yaml(root / DEFAULTS), DEFAULTS)


def test_a_missing_section_is_refused_with_its_file() -> None:
    with pytest.raises(ConfigError, match=r"use_cases/fraud/params\.yaml: nightly_batch_scoring"):
        check_schedules({}, "use_cases/fraud/params.yaml")


def test_a_wrong_time_zone_is_named_where_it_is_written() -> None:
    params = read_yaml(Path(__file__).resolve().parents[4] / DEFAULTS)
    wrong = {**params, "dataset": {"time_zone": "Europe/Berln"}}
    wrong["nightly_batch_scoring"] = {**params["nightly_batch_scoring"], "timezone": "Europe/Berln"}
    with pytest.raises(ConfigError, match=r"^here: dataset\.time_zone is 'Europe/Berln'.*did you mean Europe/Berlin"):
        check_schedules(wrong, "here")
