"""The sections of ``params.yaml`` that the DAGs read: when they run, and how patient they are."""

import zoneinfo
from typing import Self

from croniter import croniter
from pydantic import Field, field_validator, model_validator

from pipelines.lib.core.params import Section
from pipelines.lib.declarations.faults import closest


class Workflow(Section):
    """The patience of the tasks of a DAG."""

    retries: int = Field(ge=0)
    retry_first_s: float = Field(gt=0)
    retry_longest_s: float = Field(gt=0)
    task_timeout_minutes: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.retry_first_s > self.retry_longest_s:
            raise ValueError(f"retry_first_s is {self.retry_first_s:g}, more than retry_longest_s, {self.retry_longest_s:g}; lower it")
        return self


class WithWorkspace(Workflow):
    """A DAG whose failed runs keep their workspace for `retention_days`."""

    retention_days: float = Field(ge=0)


class Clock(Workflow):
    """A DAG that a `cron` starts, in a `timezone` of the IANA database."""

    cron: str
    timezone: str

    @field_validator("cron")
    @classmethod
    def _is_a_cron(cls, cron: str) -> str:
        if not croniter.is_valid(cron) or len(cron.split()) != 5:
            raise ValueError(f"cron is {cron!r}; write minute, hour, day, month and weekday, such as 0 2 * * *")
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, timezone: str) -> str:
        try:
            zoneinfo.ZoneInfo(timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            known = zoneinfo.available_timezones()
            raise ValueError(
                f"timezone is {timezone!r}, which is not in the IANA database; {closest(timezone, known, 'such as Europe/Berlin, not')[:120]}"
            ) from None
        return timezone


class Nightly(Clock):
    """A DAG that starts once per date, for the partition `replay_offset_days` before it."""

    replay_offset_days: int

    @field_validator("cron")
    @classmethod
    def _has_one_time_of_day(cls, cron: str) -> str:
        if not all(part.isdigit() for part in cron.split()[:2]):
            raise ValueError(f"cron is {cron!r}; give it one time of day, such as 0 2 * * *: a partition is a date")
        return cron


class NightlyBatchScoring(Nightly):
    """Section ``nightly_batch_scoring``."""

    max_active_runs: int = Field(ge=1)
    retention_days: float = Field(ge=0)


class DriftTriggeredRetraining(WithWorkspace):
    """Section ``drift_triggered_retraining``."""

    max_active_runs: int = Field(ge=1)
    approval_hours: float = Field(gt=0)


class EncoderTraining(WithWorkspace):
    """Section ``encoder_training``."""

    max_active_runs: int = Field(ge=1)


class VectorIndexRebuild(WithWorkspace):
    """Section ``vector_index_rebuild``."""

    shards_at_once: int = Field(ge=1)
