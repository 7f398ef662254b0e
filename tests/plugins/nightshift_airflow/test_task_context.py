"""The facts that a task knows about its run."""

import pytest
from airflow.sdk.exceptions import AirflowFailException


def test_a_missing_workspace_says_what_to_do(night):
    with pytest.raises(AirflowFailException, match="is missing or incomplete; clear open_run"):
        night("ingest_batch")
