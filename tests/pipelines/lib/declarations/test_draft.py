"""The draft of a declaration: columns, delay and features that a source shows. tests/pipelines/use_case/test_init.py has the whole command."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.declarations.draft import Draft, Wishes, draft
from tests import rides

LABEL = Wishes(label="minutes_late >= 10", label_name="late")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drafted(query: str, wishes: Wishes = LABEL) -> Draft:
    rides.write(Path("rides.parquet"), query)
    return draft("rides.parquet", wishes)


def test_the_delay_is_the_number_of_newest_dates_without_outcomes() -> None:
    query = f"SELECT * REPLACE (CASE WHEN started_at < '2024-01-17' THEN minutes_late END AS minutes_late) FROM ({rides.rides(days=20)})"
    assert drafted(query).dataset["label"]["delay_days"] == 4


def test_a_delay_that_cannot_be_seen_is_marked_as_a_guess() -> None:
    found = drafted(rides.rides(days=20))
    assert found.dataset["label"]["delay_days"] == 1
    assert any("CANNOT BE SEEN" in note for note in found.notes)


def test_a_placeholder_is_none_of_the_values() -> None:
    query = f"SELECT * REPLACE (CASE WHEN distance > 0 THEN distance - 3.5 END AS distance) FROM ({rides.rides(days=20)})"
    assert drafted(query).features["numeric"]["distance"] == {"missing": -5}


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="--key names 'id', which the source does not have as a column; there are ride, started_at"):
        drafted(rides.rides(days=20), Wishes(label="minutes_late >= 10", key=("id",)))


@pytest.mark.costly
@pytest.mark.parametrize("written", ["'2024-01-31 10:00:00 GMT'", "'noon'", "7"])
def test_an_event_time_that_is_not_a_time_is_refused_with_what_to_deliver(written: str) -> None:
    for column, query in (("started_at", f"* REPLACE ({written} AS started_at)"), ("other", f"*, {written} AS other")):
        with pytest.raises(
            ConfigError,
            match=rf"--event-time is '{column}', of type (string|integer), which holds values such as .*; name a column of dates or times",
        ):
            drafted(f"SELECT {query} FROM ({rides.rides(days=20)})", Wishes(label="minutes_late >= 10", event_time=column))


def test_a_label_that_is_text_is_refused_with_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"as in city = 'one of its values'$"):
        drafted(rides.rides(days=20), Wishes(label="city"))


def test_a_number_of_two_values_is_refused_with_both_that_it_may_mean() -> None:
    with pytest.raises(
        ConfigError, match=r"which is 0 or 1 in all rows; compare it, as in .* = 1, for a question.*or write task: regression"
    ):
        drafted(rides.rides(days=20), Wishes(label="minutes_late % 2"))


def test_a_column_of_a_type_that_cannot_be_declared_is_left_out_and_noted() -> None:
    found = drafted(f"SELECT *, [1, 2] AS list FROM ({rides.rides(days=20)})")
    assert "Left out, of a type that cannot be declared: list." in found.notes


@pytest.mark.parametrize(
    ("started_at", "said"),
    [
        ("NULL::VARCHAR", "--event-time is 'started_at', of type string, which holds no value; name a column of dates or times"),
        ("city", "--event-time is 'started_at', of type string, which holds values such as 'Bonn'; name a column of dates or times"),
        (
            "CASE WHEN distance < 3 THEN strftime(started_at, '%d.%m.%Y') ELSE strftime(started_at, '%Y-%m-%d') END",
            r"holds [\d,]+ values like %Y-%m-%d and [\d,]+ values like %d.%m.%Y; deliver all of them in one format, best as 2024-01-31",
        ),
    ],
)
def test_an_event_time_that_is_none_is_refused_with_what_it_holds(started_at: str, said: str) -> None:
    query = f"SELECT * REPLACE ({started_at} AS started_at) FROM ({rides.rides(days=20)})"
    with pytest.raises(ConfigError, match=said):
        drafted(query, Wishes(label="minutes_late >= 10", event_time="started_at"))


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"delay_days": -1}, "--delay-days: is -1. It must be at least 0"),
        ({"label": "minute_late > 1"}, "--label is 'minute_late > 1', but there is no column 'minute_late'"),
        ({"label": "city"}, "--label is 'city', which is a VARCHAR; compare it"),
        ({"known_later": ("ride",)}, "--known-later: names ride, which cannot be both part of the key"),
    ],
)
def test_a_fault_names_the_argument(wishes: dict[str, Any], said: str) -> None:
    """It named keys of a draft that nobody has written: --label.label.expression."""
    with pytest.raises(ConfigError) as refused:
        drafted(rides.rides(days=20), replace(LABEL, **wishes))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("minutes_late > 99", r"which is false for all [\d,]+ rows with an outcome: correct it, a model needs both outcomes"),
        ("minutes_late >= 0", r"which is true for all [\d,]+ rows with an outcome"),
        ("NULL::INT > 0", r"which is NULL for all [\d,]+ rows: correct it, a model needs outcomes"),
    ],
)
def test_a_label_without_both_outcomes_is_a_warning(label: str, said: str) -> None:
    [warning] = drafted(rides.rides(days=20), Wishes(label=label)).warnings
    assert re.fullmatch(rf"--label is '{re.escape(label)}', {said}.*", warning), warning


def test_a_delay_is_not_said_to_follow_from_outcomes_that_there_are_not() -> None:
    notes = drafted(rides.rides(days=20), Wishes(label="NULL::INT > 0")).notes
    assert "Label delay: CANNOT BE SEEN, since no row has an outcome. 1 day is a guess: correct delay_days." in notes


def test_a_key_that_rows_share_is_a_warning() -> None:
    [warning] = drafted(rides.rides(days=20), replace(LABEL, key=("electric",))).warnings or [""]
    assert re.fullmatch(r"--key is \[electric\], which [\d,]+ rows share with another: name the columns that tell them apart", warning)
