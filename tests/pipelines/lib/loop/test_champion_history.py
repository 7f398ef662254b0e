"""The champion on a partition."""

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.loop.champion_history import History, Promotion


def champion(partition: str, *promotions: Promotion) -> str:
    return History(name="m", partition=partition, scored_by="1", promotions=promotions, nights=()).champion.version


FIRST, SECOND = Promotion(1, "2013-01-01", "1"), Promotion(2, "2013-06-01", "2")


@pytest.mark.parametrize(("partition", "version"), [("2013-01-01", "1"), ("2013-05-31", "1"), ("2013-06-01", "2"), ("2013-12-31", "2")])
def test_a_version_is_champion_from_its_night_on(partition: str, version: str) -> None:
    assert champion(partition, SECOND, FIRST) == version


def test_a_rollback_makes_the_older_version_champion() -> None:
    """Both went live for the same night: the later entry of the ledger counts, in any order of the entries."""
    assert champion("2013-06-10", Promotion(3, "2013-06-01", "1"), SECOND, FIRST) == "1"


def test_before_the_first_promotion_there_is_no_champion() -> None:
    with pytest.raises(ConfigError, match="no version of m was champion on 2012-12-31"):
        champion("2012-12-31", FIRST)
