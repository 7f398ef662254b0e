"""Windows of nights: which recorded nights are added up for a night, and which windows no longer fit what is recorded.

A night may be watched late, or published again, after the nights that follow it were watched. Their windows hold it, so they are measured again.
"""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.lib.records.journal import NightRecord, of_published
from pipelines.lib.tables.night_calendar import NightCalendar

SUPERSEDED = "superseded"
"""The publication of a record whose scores were replaced before it was made: it is about nothing that is published."""

Measure = Callable[[NightRecord, Sequence[NightRecord]], dict[str, Any]]


EVERY_NIGHT = NightCalendar()


def span(partition: str, window_nights: int, calendar: NightCalendar = EVERY_NIGHT) -> tuple[str, str]:
    """Return the first and last date whose windows may hold `partition`, or that its own window may hold.

    A window has `window_nights` nights with rows. It reaches back as far as these may be apart by the `calendar` of the table, and twice its
    length at least: a version that a rollback brought back has no nights of a season ago.
    """
    date, reach = dt.date.fromisoformat(partition), dt.timedelta(days=calendar.days_of(window_nights))
    return (date - reach).isoformat(), (date + reach).isoformat()


def earlier(records: Sequence[NightRecord], partition: str, window_nights: int, calendar: NightCalendar = EVERY_NIGHT) -> list[NightRecord]:
    """Return those of `records` (of one version) that are added up with the night `partition`, oldest first."""
    since, _ = span(partition, window_nights, calendar)
    found = sorted((night for night in records if since <= night.partition < partition), key=lambda night: night.partition)
    return found[len(found) - min(len(found), window_nights - 1) :]


def refreshed(
    records: Sequence[NightRecord],
    changed: Collection[str],
    published: Mapping[str, str],
    window_nights: int,
    measure: Measure,
    calendar: NightCalendar = EVERY_NIGHT,
) -> list[NightRecord]:
    """Return those of `records` (of one version) whose window holds another set of nights than it did, or one that has `changed`, measured again.

    `measure` gives the drift of a night with those before it. Only what is `published` now counts.
    """
    current = of_published(records, published)
    found = []
    for night in current:
        before = earlier(current, night.partition, window_nights, calendar)
        window = [record.partition for record in [*before, night]]
        if night.drift.get("window") != window or not set(window).isdisjoint(changed):
            found.append(replace(night, drift={"window": window} | measure(night, before)))
    return found
