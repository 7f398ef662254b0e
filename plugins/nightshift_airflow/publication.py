"""Which nights are published, as Airflow's database knows it: by the events of the asset *scores*.

The published table is the truth, and `open_run` asks it. An API server has no business with the table, so what it refuses or repeats it decides by
these events. Where there are none, as in a new database next to an old table, it refuses nothing.
"""

import datetime as dt

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from nightshift_airflow.use_cases import asset_uri


class NotPublishedYetError(ValueError):
    """The night that a run is about is not published yet; the same request succeeds once it is."""


def newest_published(database: Connection | Session, suffix: str = "") -> str | None:
    """Return the newest night of which the use case with `suffix` has published scores, such as ``2013-06-01``; None if no event describes one."""
    from airflow.models.asset import AssetEvent, AssetModel

    of_scores = AssetEvent.asset_id.in_(select(AssetModel.id).where(AssetModel.uri == asset_uri("published/scores", suffix)))
    newest: str | None = database.scalar(select(func.max(AssetEvent.partition_key)).where(of_scores))
    return newest


def published_since(database: Connection | Session, partition: str, suffix: str = "") -> dt.datetime | None:
    """Return when night `partition`, or the first one after it, was published for the first time; None if no event describes one."""
    from airflow.models.asset import AssetEvent, AssetModel

    of_scores = AssetEvent.asset_id.in_(select(AssetModel.id).where(AssetModel.uri == asset_uri("published/scores", suffix)))
    first: dt.datetime | None = database.scalar(
        select(func.min(AssetEvent.timestamp)).where(of_scores, AssetEvent.partition_key >= partition)
    )
    return first


def require_published(partition: str, newest: str | None, today: dt.date) -> None:
    """Raise `NotPublishedYetError` if `partition` is after the night `newest`, `ValueError` where it cannot be a night yet.

    Two days of grace: a night may bear the date of the day after, in a time zone that is ahead of `today`'s.
    """
    if dt.date.fromisoformat(partition) > today + dt.timedelta(days=2):
        raise ValueError(f"partition {partition} is in the future, today is {today}; correct the date")
    if newest is not None and newest < partition:
        raise NotPublishedYetError(
            f"night {partition} is not published yet, the newest that this Airflow has published is {newest}; ask again once it is published"
        )
