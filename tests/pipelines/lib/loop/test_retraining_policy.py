"""The governor's policy: limits that no night could ever meet are refused, and a window says what it lacks."""

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import load_section, parse_section
from pipelines.lib.loop.retraining_policy import Policy

POLICY = load_section("govern", Policy, REPOSITORY / "params.yaml")


@pytest.mark.parametrize(
    ("nights", "rows", "lacking"),
    [
        (5, 1000, ""),
        (4, 1000, "4 of 5 nights"),
        (5, 999, "999 of 1000 rows"),
        (1, 3, "1 of 5 nights and 3 of 1000 rows"),
    ],
)
def test_a_window_says_what_it_lacks(nights: int, rows: int, lacking: str) -> None:
    assert POLICY.lacking(nights, rows) == lacking


def test_a_policy_that_no_window_can_meet_is_refused() -> None:
    POLICY.require_reachable(5)
    with pytest.raises(
        ConfigError, match=r"govern\.minimum_nights is 5 and a window holds 4 nights .* set govern\.minimum_nights to at most 4"
    ):
        POLICY.require_reachable(4)


def test_more_alarms_than_nights_are_refused() -> None:
    with pytest.raises(ValueError, match="alarm_nights is 4, alarm_window_nights 3: no night could ever alarm"):
        Policy(**POLICY.model_dump() | {"alarm_nights": 4, "alarm_window_nights": 3})


@pytest.mark.parametrize("days", [1, 30, 3650, None])
def test_a_refresh_has_a_period_in_whole_days_or_none(days: int | None) -> None:
    assert parse_section(POLICY.model_dump() | {"refresh_days": days}, Policy, "govern").refresh_days == days


@pytest.mark.parametrize("days", [0, -7, "30", "monthly", 7.5, 30.0, True, [30], {"days": 30}])
def test_other_periods_of_a_refresh_are_refused_by_name(days: object) -> None:
    with pytest.raises(ConfigError, match=r"^govern\.refresh_days: .*"):
        parse_section(POLICY.model_dump() | {"refresh_days": days}, Policy, "govern")


def test_nothing_is_refreshed_unless_declared() -> None:
    assert POLICY.refresh_days is None
    assert load_section("govern", Policy, REPOSITORY / "pipelines" / "defaults.yaml").refresh_days is None
