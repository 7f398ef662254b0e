"""The use cases as DAG files see them: each DAG file makes one DAG for each use case.

The default use case has the plain ids, such as ``nightly_batch_scoring``, another one ids that end with its name, such as
``nightly_batch_scoring__fraud``. So are the assets apart. A use case whose file is broken has no DAGs, hides no other one, and is named by `broken`.
The same holds for two use cases that share a name, such as that of a model.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airflow.sdk import Asset

from nightshift_airflow import places
from nightshift_airflow.kept_parameters import KeptParameters
from pipelines.lib.core import use_cases as declared
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.own_names import refusal, shared_names

log = logging.getLogger(__name__)

_DAYS_OF_A_WEEK = 7


@dataclass(frozen=True)
class UseCase:
    """One use case: its `name`, the `suffix` of its ids, its effective `params`, and the `slots` of its pool if it has one."""

    name: str
    suffix: str
    params: dict[str, Any]
    slots: int | None = None

    def dag_id(self, dag: str) -> str:
        """Return the id of this use case's DAG of the kind `dag`, such as ``drift_monitoring``."""
        return f"{dag}{self.suffix}"

    def title(self, title: str) -> str:
        """Return the name of a DAG for people."""
        return f"{title} · {self.name}" if self.suffix else title

    def settings(self, dag: str) -> dict[str, Any]:
        """Return the section of the parameters that is named like the kind of DAG, with the `pool` of its tasks if the use case has one."""
        settings: dict[str, Any] = self.params[dag]
        return settings if self.slots is None else {**settings, "pool": self.name}

    @property
    def has_empty_nights(self) -> bool:
        """Whether its table may have nights without rows, as section ``dataset`` declares. A run refuses a wrong value when it opens, not the DAG file."""
        dataset = self.params["dataset"]
        weekdays = dataset.get("weekdays")
        return bool(dataset.get("nights_without_rows")) or (isinstance(weekdays, list) and len(weekdays) < _DAYS_OF_A_WEEK)

    @cached_property
    def scores(self) -> Asset:
        """The published table of scores; its events carry the partition that was published."""
        return self._asset("scores", "published/scores")

    @cached_property
    def champion_model(self) -> Asset:
        """The model in production; its events say that the ledger has moved."""
        return self._asset("champion_model", "registry/champion")

    @cached_property
    def encoder(self) -> Asset:
        """The encoder in production; its events carry the partition as of which it was trained."""
        return self._asset("encoder", "registry/encoder")

    @cached_property
    def index_due(self) -> Asset:
        """A new generation of the vector index is due; its events carry the partition of which it is to be."""
        return self._asset("index_due", "index/due")

    @cached_property
    def vector_index(self) -> Asset:
        """The published generation of the vector index; its events say that the pointer has moved."""
        return self._asset("vector_index", "index/current")

    def _asset(self, name: str, place: str) -> Asset:
        return Asset(name=f"{name}{self.suffix}", uri=asset_uri(place, self.suffix))


def asset_uri(place: str, suffix: str) -> str:
    """Return the address of the asset at `place` of the use case whose ids end with `suffix`."""
    return f"nightshift://{place}{suffix}"


def kind_of(dag_id: str) -> str:
    """Return the kind of a DAG: its id without the name of a use case."""
    return dag_id.partition("__")[0]


def suffix_of(dag_id: str) -> str:
    """Return what the ids of all DAGs of the same use case end with; empty for the default one."""
    return dag_id.removeprefix(kind_of(dag_id))


def name_of(dag_id: str) -> str:
    """Return the name of the use case of a DAG; empty for the default one."""
    return suffix_of(dag_id).removeprefix("__")


def default_name() -> str:
    """Return the name of the default use case."""
    return declared.use_cases(places.REPOSITORY)[0].name


def names() -> list[str]:
    """Return the names of all declared use cases, the default one first, broken ones included."""
    return [one.name for one in declared.use_cases(places.REPOSITORY)]


def use_cases() -> list[UseCase]:
    """Return the use cases of this installation, the default one first, without those that are broken."""
    sound, faults = _read()
    for name, fault in faults.items():
        log.error("the use case %s has no DAGs: %s", name, fault)
    return sound


def broken() -> dict[str, str]:
    """Return what is wrong with each use case that has no DAGs, by its name."""
    return _read()[1]


def settings_of(dag_id: str) -> dict[str, Any]:
    """Return the settings of a DAG. Raises `ConfigError` if its use case does not exist, or if its file alone is broken."""
    settings: dict[str, Any] = _params_of(declared.find(name_of(dag_id), places.REPOSITORY))[kind_of(dag_id)]
    return settings


def _params_of(one: declared.UseCase) -> dict[str, Any]:
    """Return the effective parameters of a use case, from which its DAGs can be made. Raises `ConfigError` if they cannot."""
    params = declared.effective(one).params
    from pipelines.lib.core.pools import pool_slots  # not sooner: if the parameters of all use cases are kept, nobody needs the two
    from pipelines.lib.core.schedules import check_schedules

    pool_slots(params)
    check_schedules(params, str(one.declaration.relative_to(places.REPOSITORY)))
    return params


def _read() -> tuple[list[UseCase], dict[str, str]]:
    sound, faults = [], {}
    kept = KeptParameters()
    shared = shared_names(declared.use_cases(places.REPOSITORY))
    for one in shared:
        try:
            if shared[one]:
                raise ConfigError(refusal(one, shared[one]))
            params = kept.of(one, _params_of)
            sound.append(UseCase(one.name, one.suffix, params, (params.get("pool") or {}).get("slots")))
        except ConfigError as error:
            faults[one.name] = str(error)
    kept.write()
    return sound, faults
