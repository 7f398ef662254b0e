"""When a failed task is tried again: by the kind of failure, with exponential back-off and jitter.

Airflow's own exponential back-off takes its jitter from a hash of dag, task and logical date; partitioned runs have no logical date,
so that all nights that lost the same database would come back in the same second.
"""

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from pipelines.lib.core.errors import mistake_in_code

if TYPE_CHECKING:
    from airflow.sdk import Context


OWNER = "nightshift"
"""The owner of every DAG in the UI; Airflow's own default is *airflow*."""


class StageError(Exception):
    """A stage failed in a way that another attempt may fix. An error that no attempt fixes is an `AirflowFailException`."""


def task_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``default_args`` of a DAG: who owns it, how often and after what its tasks are tried again, and how long one may take.

    `settings` is the DAG's section of ``params.yaml``: retries, retry_first_s, retry_longest_s, task_timeout_minutes. A `pool` in it is that of its
    use case; without one, the tasks are in Airflow's default pool.
    """
    first, longest = timedelta(seconds=settings["retry_first_s"]), timedelta(seconds=settings["retry_longest_s"])
    return {
        "owner": OWNER,
        "retries": settings["retries"],
        "retry_policy": BackOff(first, longest),
        "retry_delay": first,  # where the task runner itself was killed and no policy was asked
        "retry_exponential_backoff": 2,
        "max_retry_delay": longest,
        "execution_timeout": timedelta(minutes=settings["task_timeout_minutes"]),
        **({"pool": settings["pool"]} if settings.get("pool") else {}),
    }


class BackOff(RetryPolicy):
    """Wait `first`, then `factor` times as long each time, up to `longest`; each wait is stretched by up to `jitter` of itself."""

    def __init__(self, first: timedelta, longest: timedelta, factor: float = 2.0, jitter: float = 0.5) -> None:
        self.first, self.longest, self.factor, self.jitter = first, longest, factor, jitter

    def delay(self, try_number: int) -> timedelta:
        """Return the wait after the failure of attempt `try_number`, which counts from 1."""
        plain = min(self.first * self.factor ** min(try_number - 1, 30), self.longest)
        return plain * (1 + random.random() * self.jitter)  # noqa: S311  nobody gains by guessing it

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: "Context | None" = None) -> RetryDecision:
        """Retry after `delay`, as often as the task's `retries` say, unless the code is wrong. `AirflowFailException` never comes here."""
        if mistake := mistake_in_code(exception):
            return RetryDecision.fail(str(mistake))
        wait = self.delay(try_number)
        return RetryDecision.retry(
            wait, f"attempt {try_number} failed ({type(exception).__name__}); the next waits {wait.total_seconds():.0f} s"
        )

    def serialize(self) -> dict[str, Any]:
        """Return the form for Airflow's serialized DAG."""
        return {"first": self.first.total_seconds(), "longest": self.longest.total_seconds(), "factor": self.factor, "jitter": self.jitter}
