"""Make the first generation of the vector index, through Airflow: `encoder_training`, whose new champion starts `vector_index_rebuild`."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from deploy.embedded.chosen import dag_id
from deploy.embedded.client import Client
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core.errors import ModelError
from pipelines.lib.encoders.encoder import load_encoder
from pipelines.lib.features.compute import identity, load_features
from pipelines.lib.tables.dataset import load_dataset
from pipelines.lib.vector_index import generations

TRAINING, REBUILD = "encoder_training", "vector_index_rebuild"

Progress = Callable[[str, list[dict[str, Any]]], None]


class IndexingError(Exception):
    """A run that the first index needs has failed."""


def published_index() -> dict[str, Any] | None:
    """Describe the published generation; None if no generation is whole, or if it has other features than those declared now."""
    name = load_registry().encoder
    try:
        found = generations.usable(name)
        if found is None:
            return None
        directory = generations.locate(name, found[0].generation)
        manifest = generations.verify(directory, found[0].manifest_sha256, digests=False)  # `usable` has compared them
        encoder = load_encoder(directory / generations.ENCODER, manifest["encoder_sha256"])
    except ModelError:
        return None
    if encoder.signature.sha256 != identity(load_dataset(), load_features())["sha256"]:
        return None
    shown = ("kind", "count", "dimension", "partition", "encoder_version")
    return {"name": name, "generation": found[0].generation, **{key: manifest[key] for key in shown}}


def published_since(switch: int | None) -> tuple[int | None, dict[str, Any] | None]:
    """Return the number of the last switch of the pointer, and `published_index`. Look for the latter only if that number is not `switch`: it reads whole files."""
    try:
        pointer = generations.current(load_registry().encoder)
    except ModelError:  # a pointer that is broken is replaced by the next one
        pointer = None
    last = pointer.sequence if pointer else None
    return last, published_index() if last != switch else None


def request_first_index(client: Client, partition: str) -> str:
    """Have the encoder trained as of `partition`; its promotion starts the rebuild. Return the id of the training's run."""
    for kind in (TRAINING, REBUILD):
        client.unpause(dag_id(kind))
    return client.trigger(dag_id(TRAINING), partition, run_id=f"first_index__{partition}__{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}")


def make_first_index(client: Client, partition: str, *, progress: Progress, check: Callable[[], None], timeout_s: float) -> dict[str, Any]:
    """Train the encoder as of `partition`, wait for the rebuild that this starts, and return the published index. Raise `IndexingError`."""
    since = dt.datetime.now(dt.UTC).isoformat()
    training = request_first_index(client, partition)
    states = client.follow(dag_id(TRAINING), [training], timeout_s=timeout_s, progress=progress, check=check)
    if states[training] == "success":
        rebuild = client.follow_partitions(dag_id(REBUILD), [partition], since=since, timeout_s=timeout_s, progress=progress, check=check)[
            partition
        ]
        states[rebuild["dag_run_id"]] = rebuild["state"]
    index = published_index()
    if index is None or "failed" in states.values():
        runs = ", ".join(f"{run_id} {state}" for run_id, state in states.items())
        raise IndexingError(f"no vector index was made ({runs}); the notes of these runs say why, their logs are under var/airflow/logs")
    return index
