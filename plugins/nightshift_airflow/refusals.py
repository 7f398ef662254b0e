"""Requests that are refused."""


class RunRefusedError(ValueError):
    """The run cannot be made or opened as it was asked for: its id, partition, conf or commit is wrong, which no retry can fix.

    Airflow's API answers a `ValueError` with 400.
    """
