"""The sections of the DAGs."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.lib.declarations.schedules import Clock, Nightly

PATIENCE: dict[str, Any] = {"retries": 3, "retry_first_s": 10, "retry_longest_s": 600, "task_timeout_minutes": 60}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"timezone": "Berlin"}, "timezone is 'Berlin', which is not in the IANA database"),
        ({"timezone": "../etc/passwd"}, "not in the IANA database"),
        ({"cron": "0 25 * * *"}, "cron is '0 25"),
        ({"cron": "@daily"}, "cron is '@daily'"),
        ({"cron": "0 * * * *"}, "give it one time of day"),
        ({"retry_first_s": 700}, "more than retry_longest_s, 600; lower it"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_remedy(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Nightly.model_validate({**PATIENCE, "cron": "0 2 * * *", "timezone": "UTC", "replay_offset_days": 1, **changed})


def test_a_clock_may_strike_often() -> None:
    assert Clock.model_validate({**PATIENCE, "cron": "*/5 * * * *", "timezone": "Europe/Berlin"}).cron == "*/5 * * * *"
