# ruff: noqa: RUF012 - Airflow declares these lists as attributes of instances
"""The additions of Nightshift to Airflow's UI; the one file that Airflow loads as a plugin.

Every Airflow process loads it, each task included: nothing heavy is imported here. The pages are built when the first request comes.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from nightshift_airflow import notes, partitions
from nightshift_airflow.links import GateReport, ModelCard, page
from nightshift_airflow.plain_refusals import PlainRefusals
from nightshift_airflow.timetable import ClockTimetable, NightTimetable, OnRequestTimetable

Message = MutableMapping[str, Any]


class LazyPages:
    """An ASGI application that imports FastAPI, and Airflow's security, with its first request."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Hand the request on."""
        if self._app is None:
            from nightshift_airflow.pages import make_app

            self._app = make_app()
        await self._app(scope, receive, send)


class NightshiftPlugin(AirflowPlugin):
    """Pages and the door for alerts under ``/nightshift``, buttons on tasks, notes on runs."""

    name = "nightshift"
    fastapi_apps = [{"app": LazyPages(), "url_prefix": "/nightshift", "name": "nightshift"}]
    fastapi_root_middlewares = [{"middleware": PlainRefusals, "name": "nightshift"}]
    external_views = [
        {"name": "Nightshift", "href": f"{page()}/", "destination": "nav", "category": "browse", "url_route": "nightshift"},
    ]
    operator_extra_links = [GateReport(), ModelCard()]
    listeners = [notes]
    timetables = [NightTimetable, ClockTimetable, OnRequestTimetable]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Check the partition of each run that somebody asks for before it is made."""
        partitions.watch_new_runs()
