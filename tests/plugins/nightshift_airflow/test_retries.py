"""Exponential, capped, and not all at once."""

from datetime import timedelta

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from nightshift_airflow.retries import BackOff, StageError, task_defaults

POLICY = BackOff(timedelta(seconds=10), timedelta(minutes=10))


def test_the_wait_doubles_and_is_capped():
    for attempt, plain in [(1, 10), (2, 20), (3, 40), (7, 600), (1000, 600)]:
        waits = [POLICY.delay(attempt).total_seconds() for _ in range(50)]
        assert all(plain <= wait <= 1.5 * plain for wait in waits)


def test_two_runs_that_lost_the_same_database_do_not_return_together():
    assert len({POLICY.delay(3) for _ in range(20)}) == 20


def test_a_stage_error_is_tried_again_and_the_reason_says_when():
    decision = POLICY.evaluate(StageError("database is locked"), try_number=2, max_tries=3)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay is not None
    assert "attempt 2 failed (StageError)" in (decision.reason or "")


def test_a_mistake_in_the_code_of_an_operator_is_not_tried_again():
    with pytest.raises(TypeError) as caught:
        task_defaults(None)
    decision = POLICY.evaluate(caught.value, try_number=1, max_tries=3)
    assert decision.action is RetryAction.FAIL
    assert "plugins/nightshift_airflow/retries.py, line " in (decision.reason or "")


def test_airflow_can_serialize_it():
    assert POLICY.serialize() == {"first": 10.0, "longest": 600.0, "factor": 2.0, "jitter": 0.5}


def test_tasks_have_an_owner_of_ours():
    settings = {"retries": 3, "retry_first_s": 10, "retry_longest_s": 600, "task_timeout_minutes": 60}
    assert task_defaults(settings)["owner"] == "nightshift"


def test_tasks_are_in_the_pool_of_their_use_case_or_in_airflows_own():
    settings = {"retries": 3, "retry_first_s": 10, "retry_longest_s": 600, "task_timeout_minutes": 60}
    assert task_defaults({**settings, "pool": "fraud"})["pool"] == "fraud"
    assert "pool" not in task_defaults(settings)
