"""Which nights are published, asked of Airflow's database."""

import datetime as dt

import pytest
from airflow.utils.session import create_session
from nightshift_airflow import publication

from tests.airflow_database import airflow_database, publish

TODAY = dt.date(2026, 3, 1)


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    with airflow_database(tmp_path, monkeypatch):
        yield


def ask(question, *arguments):
    with create_session(scoped=False) as session:
        return question(session, *arguments)


def test_the_newest_night_is_that_of_the_highest_date():
    assert ask(publication.newest_published) is None
    publish("2013-04-02")
    publish("2013-04-01")
    publish("2013-12-24", uri="nightshift://index/current")
    assert ask(publication.newest_published) == "2013-04-02"


def test_a_night_is_published_since_it_or_a_later_one_was_for_the_first_time():
    first, second = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    publish("2013-04-02", at=first)
    publish("2013-04-02", at=second)
    publish("2013-04-03", at=second)
    assert ask(publication.published_since, "2013-04-01") == first
    assert ask(publication.published_since, "2013-04-02") == first
    assert ask(publication.published_since, "2013-04-03") == second
    assert ask(publication.published_since, "2013-04-04") is None


def test_only_a_night_after_the_newest_one_has_to_wait():
    publication.require_published("2013-04-02", "2013-04-02", TODAY)
    publication.require_published("2013-04-01", "2013-04-02", TODAY)
    publication.require_published("2013-04-03", None, TODAY)  # no event describes a night: the table will
    with pytest.raises(
        publication.NotPublishedYetError,
        match="night 2013-04-03 is not published yet, the newest that this Airflow has published is 2013-04-02",
    ):
        publication.require_published("2013-04-03", "2013-04-02", TODAY)


@pytest.mark.parametrize("newest", [None, "2026-02-28"])
def test_a_night_that_cannot_be_one_yet_is_refused_for_good(newest):
    with pytest.raises(ValueError, match="partition 2026-03-04 is in the future, today is 2026-03-01") as caught:
        publication.require_published("2026-03-04", newest, TODAY)
    assert not isinstance(caught.value, publication.NotPublishedYetError)
