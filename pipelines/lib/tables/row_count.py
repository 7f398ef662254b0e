"""How many rows of a date are normal, measured against the dates before it."""

import datetime as dt
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from pydantic import Field

from pipelines.lib.core.params import Section


@dataclass(frozen=True)
class Band:
    """How many rows are normal, both ends inclusive, and why; `high` None is not a limit, `reference` None is nothing to compare with."""

    low: int
    high: int | None
    reason: str
    reference: float | None = None


class RowCount(Section):
    """The normal size of a night, measured against earlier nights.

    The reference is the median of up to `nights` nights, `every_days` apart, that are before it: with 7, the same weekday, which
    matters wherever weekends are thin. `minimum_ratio` and `maximum_ratio` are shares of it. On the dates `quiet_dates`, known beforehand, `quiet_minimum_ratio`
    takes the place of `minimum_ratio`. Below `minimum_rows` rows per night fails in any case, also where there is nothing to compare with.
    """

    nights: int = Field(default=4, ge=1)
    every_days: int = Field(default=7, ge=1)
    minimum_ratio: float = Field(default=0.5, ge=0, le=1)
    maximum_ratio: float = Field(default=2.0, ge=1)
    minimum_rows: int = Field(default=2, ge=0)
    quiet_dates: tuple[str, ...] = ()
    quiet_minimum_ratio: float = Field(default=0.25, ge=0, le=1)

    def reference_dates(self, night: dt.date) -> list[dt.date]:
        """Return the earlier nights with which `night` is compared."""
        return [night - dt.timedelta(days=self.every_days * step) for step in range(1, self.nights + 1)]

    def band(self, rows_per_date: Mapping[str, int], night: dt.date) -> Band:
        """Return the band of `night`, given the number of rows of other dates. A date without rows tells nothing: it is passed over."""
        counts = [rows_per_date[str(date)] for date in self.reference_dates(night) if rows_per_date.get(str(date))]
        if not counts:
            return Band(self.minimum_rows, None, f"at least {self.minimum_rows} rows")
        reference = statistics.median(counts)
        quiet = str(night) in self.quiet_dates
        low = self.quiet_minimum_ratio if quiet else self.minimum_ratio
        every = "nights" if self.every_days == 1 else "same weekdays" if self.every_days == 7 else f"nights, {self.every_days} days apart"
        return Band(
            max(self.minimum_rows, math.ceil(_share_of(low, reference))),
            max(self.minimum_rows, math.floor(_share_of(self.maximum_ratio, reference))),
            f"{low:.0%} to {self.maximum_ratio:.0%} of {reference:g}, the median of the last {len(counts)} {every}{' (a quiet date)' if quiet else ''}",
            reference,
        )


def _share_of(share: float, reference: float) -> Fraction:
    """Return `share` of `reference`, exactly: the share is the decimal that a person wrote, and 0.07 of 100 is 7 and not a little more."""
    return Fraction(repr(share)) * Fraction(reference)


class SideRowCount(RowCount):
    """As `RowCount`, for one date of a side table; by default a table may grow, and one row is enough where nothing can be compared."""

    maximum_ratio: float = Field(default=10.0, ge=1)
    minimum_rows: int = Field(default=1, ge=0)
