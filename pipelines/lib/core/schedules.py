"""The sections of ``params.yaml`` that the DAGs read: when they run, and how patient they are.

A DAG file makes the DAGs of all use cases. One wrong value among these would take the whole file down, and with it the DAGs of every other use case.
So the plugin checks them with `check_schedules` before it makes a DAG.
"""

import functools
import json
from typing import Any, Self

from croniter import CroniterBadDateError, croniter
from pydantic import Field, field_validator, model_validator

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section, parse_section
from pipelines.lib.core.time_zones import require_zone

_LONGEST_MINUTES = 7 * 24 * 60
_LONGEST_S = 7 * 24 * 60 * 60
_LONGEST_HOURS = 365 * 24
_LONGEST_DAYS = 36_500
"""A hundred years: a larger number leaves the calendar, which would stop the scheduler."""


class Workflow(Section):
    """The patience of the tasks of a DAG."""

    retries: int = Field(ge=0, le=1000)
    retry_first_s: float = Field(gt=0, le=_LONGEST_S)
    retry_longest_s: float = Field(gt=0, le=_LONGEST_S)
    task_timeout_minutes: float = Field(gt=0, le=_LONGEST_MINUTES)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.retry_first_s > self.retry_longest_s:
            raise ValueError(f"retry_first_s is {self.retry_first_s:g}, more than retry_longest_s, {self.retry_longest_s:g}; lower it")
        return self


class WithWorkspace(Workflow):
    """A DAG whose failed runs keep their workspace for `retention_days`."""

    retention_days: float = Field(ge=1, le=_LONGEST_DAYS)  # with less, open runs would lose theirs


class Clock(Workflow):
    """A DAG that a `cron` starts, in a `timezone` of the IANA database."""

    cron: str
    timezone: str

    @field_validator("cron")
    @classmethod
    def _is_a_cron(cls, cron: str) -> str:
        if not croniter.is_valid(cron) or len(cron.split()) != 5:
            raise ValueError(f"cron is {cron!r}; write minute, hour, day, month and weekday, such as 0 2 * * *")
        try:
            croniter(cron).get_next()
        except CroniterBadDateError:
            raise ValueError(f"cron is {cron!r}, a date that no year has; correct day and month") from None
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, timezone: str) -> str:
        return require_zone(timezone, "timezone")


class Nightly(Clock):
    """A DAG that starts once per date, for the partition `replay_offset_days` before it."""

    replay_offset_days: int = Field(ge=-_LONGEST_DAYS, le=_LONGEST_DAYS)

    @field_validator("cron")
    @classmethod
    def _has_one_time_of_day(cls, cron: str) -> str:
        if not all(part.isdigit() for part in cron.split()[:2]):
            raise ValueError(f"cron is {cron!r}; give it one time of day, such as 0 2 * * *: a partition is a date")
        return cron


class NightlyBatchScoring(Nightly):
    """Section ``nightly_batch_scoring``."""

    max_active_runs: int = Field(ge=1, le=1000)
    retention_days: float = Field(ge=1, le=_LONGEST_DAYS)  # with less, open runs would lose theirs


class DriftTriggeredRetraining(WithWorkspace):
    """Section ``drift_triggered_retraining``."""

    max_active_runs: int = Field(ge=1, le=1000)
    approval_hours: float = Field(gt=0, le=_LONGEST_HOURS)


class EncoderTraining(WithWorkspace):
    """Section ``encoder_training``."""

    max_active_runs: int = Field(ge=1, le=1000)


class VectorIndexRebuild(WithWorkspace):
    """Section ``vector_index_rebuild``."""

    shards_at_once: int = Field(ge=1, le=1000)


SCHEDULES: dict[str, type[Workflow]] = {
    "nightly_batch_scoring": NightlyBatchScoring,
    "drift_monitoring": WithWorkspace,
    "drift_triggered_retraining": DriftTriggeredRetraining,
    "champion_rollback": Workflow,
    "champion_replay": Clock,
    "encoder_training": EncoderTraining,
    "vector_index_rebuild": VectorIndexRebuild,
    "weekly_index_rebuild": Nightly,
    "index_rollback": Workflow,
}
"""The model of each section that a DAG file reads, by the kind of DAG."""


def check_schedules(params: dict[str, Any], where: str) -> None:
    """Raise `ConfigError` with the first fault that `params`, the effective parameters, have in a section that a DAG file reads.

    `where` is the file of the use case. The time zone of its dataset comes first, since the clocks take theirs from it.
    """
    if isinstance(zone := (params.get("dataset") or {}).get("time_zone"), str):
        try:
            require_zone(zone, "dataset.time_zone")
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
    for section in SCHEDULES:
        try:
            _parse(section, json.dumps(params.get(section), default=str))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


@functools.lru_cache(maxsize=1024)  # most sections of most use cases are the defaults, and every DAG file asks for all of them
def _parse(section: str, content: str) -> Workflow:
    return parse_section(json.loads(content), SCHEDULES[section], section)
