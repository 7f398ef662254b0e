"""The timetables of the DAGs: for partitions one with a clock and one for runs that are asked for, and a plain clock.

Of the clock a cron says when a run starts, and a number of calendar days says which night it is for.

Airflow's own `CronPartitionTimetable` counts its offset in ticks of the cron, so a weekday cron or a change of the clocks leads to another
night (docs/adr/0014). Here the partition is the date that the cron means, in the DAG's time zone, minus `days_back`.
"""

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowTimetableInvalid
from airflow.timetables.base import DagRunInfo
from airflow.timetables.simple import NullTimetable
from airflow.timetables.trigger import CronPartitionTimetable, CronTriggerTimetable
from croniter import croniter

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.timetables.base import TimeRestriction
    from pendulum import DateTime
    from pendulum.tz.timezone import FixedTimezone, Timezone

_NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class NightTimetable(CronPartitionTimetable):
    """Start a run at each tick of `cron` in `timezone`, for the partition `days_back` calendar days before the date of the tick.

    The cron has one time of day. A partition is written ``2013-06-01``; its `partition_date` is midnight of that date in `timezone`, the same
    for a scheduled run, a backfill and a run that somebody triggers.
    """

    def __init__(self, cron: str, *, timezone: "str | Timezone | FixedTimezone", days_back: int = 0) -> None:
        super().__init__(cron, timezone=timezone, key_format="%Y-%m-%d")
        self._days_back = days_back

    @property
    def summary(self) -> str:
        """The schedule in words, for the list of DAGs: *At 02:00*."""
        return self.description or self._expression

    def serialize(self) -> dict[str, Any]:
        """Return the arguments, as JSON."""
        return {**super().serialize(), "days_back": self._days_back}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "NightTimetable":
        """Return the timetable whose `serialize` gave `data`."""
        from airflow._shared.timezones.timezone import parse_timezone

        return cls(data["expression"], timezone=parse_timezone(data["timezone"]), days_back=data["days_back"])

    def validate(self) -> None:
        """Raise `AirflowTimetableInvalid` if the cron is wrong, or has several times of day, since a date then has no one run."""
        super().validate()
        minutes, hours = croniter(self._expression).expanded[:2]
        if len(minutes) != 1 or len(hours) != 1 or "*" in (*minutes, *hours):
            raise AirflowTimetableInvalid(
                f"cron is {self._expression!r}; give it one time of day, such as 0 2 * * *: a partition is a date"
            )

    def _get_partition_info(self, run_date: "DateTime") -> "tuple[DateTime, str]":
        partition = self._date_of(run_date) - dt.timedelta(days=self._days_back)
        return self._midnight(partition), str(partition)

    def _date_of(self, tick: "DateTime") -> dt.date:
        """Return the date whose time of day `tick` is. If the clocks skip that time, the tick comes as much later, perhaps after
        midnight.
        """
        local = tick.in_timezone(self._timezone).naive()
        (minute,), (hour,) = croniter(self._expression).expanded[:2]
        planned = dt.time(hour, minute)
        return local.date() if planned <= local.time() else local.date() - dt.timedelta(days=1)

    def _midnight(self, partition: dt.date) -> "DateTime":
        return self.localize_partition_datetime(dt.datetime.combine(partition, dt.time(), tzinfo=dt.UTC))

    def iter_partition_dagrun_infos(self, *, earliest: dt.datetime, latest: dt.datetime) -> Iterable[DagRunInfo]:
        """Yield the partitions of a backfill from `earliest` to `latest` (wall clock, both inclusive): those that the cron has a run
        for.
        """
        back = dt.timedelta(days=self._days_back)
        ticks = croniter(self._expression, start_time=earliest.replace(tzinfo=None) + back - dt.timedelta(seconds=1))
        while (partition := (ticks.get_next(dt.datetime) - back).date()) <= latest.date():
            midnight = self._midnight(partition)
            if partition > earliest.date() or earliest.time() == dt.time():
                yield DagRunInfo(run_after=midnight, data_interval=None, partition_date=midnight, partition_key=str(partition))

    def run_info_from_dag_run(self, *, dag_run: "DagRun") -> DagRunInfo:
        """Return the last run that the clock has started, which Airflow may not take for the last one.

        Airflow takes that of the highest partition, which may be of a backfill ahead of the clock: its next run would be started again with every parse.
        """
        runs = [run for run in (dag_run, _last_scheduled(dag_run)) if run is not None and run.run_type == "scheduled"]
        if not runs:
            return DagRunInfo(run_after=_NEVER, data_interval=None)  # type: ignore[arg-type]  # told apart by `next_dagrun_info_v2`
        return super().run_info_from_dag_run(dag_run=max(runs, key=lambda run: run.run_after))

    def next_dagrun_info_v2(self, *, last_dagrun_info: DagRunInfo | None, restriction: "TimeRestriction") -> DagRunInfo | None:
        """Return the next run, given the last one that the clock has started."""
        if last_dagrun_info is not None and last_dagrun_info.run_after == _NEVER:
            last_dagrun_info = None
        return super().next_dagrun_info_v2(last_dagrun_info=last_dagrun_info, restriction=restriction)


class ClockTimetable(CronTriggerTimetable):
    """Start a run at each tick of a cron, for no partition. Airflow's own shows the bare cron in its list of DAGs."""

    @property
    def summary(self) -> str:
        """The schedule in words, for the list of DAGs."""
        return self.description or self._expression


class OnRequestTimetable(NullTimetable):
    """Start no run: each one is asked for, with its partition.

    Airflow's own `PartitionedAtRuntime` is not `partitioned`. Its trigger form demands a logical date and a data interval, and has no field for the
    partition key.
    """

    description = "On request, for one partition"
    partitioned = True
    run_ordering = ("run_after",)

    @property
    def summary(self) -> str:
        """The schedule in words, for the list of DAGs."""
        return "On request"


def _last_scheduled(dag_run: "DagRun") -> "DagRun | None":
    """Return the newest run of the same DAG that its clock has started; None if there is none."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return None
    scheduled = select(DagRun).where(DagRun.dag_id == dag_run.dag_id, DagRun.run_type == "scheduled")
    found: DagRun | None = session.scalar(scheduled.order_by(DagRun.run_after.desc()).limit(1))
    return found
