"""A campaign of mutated nights: each is refused by name, or passes with the very values that were delivered.

`make test-slow` runs one round; ``MUTATION_ROUNDS=20`` runs twenty, each with seeds of its own.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.data import featurize_batch, ingest_batch, validate_batch, validate_features
from pipelines.lib.core import errors
from pipelines.lib.core.stage import FAILURE_FILE
from tests.datasets import mutations, orders
from tests.datasets.mutations import MUTATIONS, NIGHT, Format, Mutation

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("MUTATION_ROUNDS", "1"))
OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.NightshiftError)}
CASES = [
    pytest.param(mutation, kind, seed, id=f"{mutation.name}, {kind}, {seed}")
    for mutation in MUTATIONS
    for kind in mutation.formats
    for seed in range(ROUNDS * mutation.times)
]


@pytest.mark.parametrize(("mutation", "kind", "seed"), CASES)
def test_a_mutated_night_is_refused_by_name_or_right(
    mutation: Mutation, kind: Format, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng([seed, MUTATIONS.index(mutation)])
    delivered = mutations.delivery()
    if mutation.change is not None:
        mutation.change(delivered, random)
    mutations.write(delivered, mutation, kind, tmp_path / f"orders.{kind}", random)
    configure(kind)
    failure = run()
    if failure is None:
        assert mutation.end != "refused", "nothing refused this night"
        assert read_night() == (mutations.delivery() if mutation.damage else delivered).wanted()
        return
    assert mutation.end != "good", failure["message"]
    assert failure["error"] in OURS, failure
    assert not failure["retryable"], failure
    assert any(word in failure["message"] for word in mutation.names), failure["message"]
    assert len(failure["message"]) < 5_000


def configure(kind: Format) -> None:
    """Set up the orders as a use case whose source is the mutated file."""
    source = {"kind": "sql", "url": "sqlite:///orders.db", "table": "orders"} if kind == "db" else None
    content = orders.params(**(source or {"kind": kind.partition(".")[0], "path": f"orders.{kind}"}))
    orders.write(orders.products(), Path("products.csv"))
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    run = {"partition": str(NIGHT), "model": {"path": "data/models/model.onnx", "name": "Orders"}}
    Path("run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")


def run() -> dict[str, Any] | None:
    """Run the night up to the gate before scoring; what the stage that failed has told, None if none did."""
    steps = (
        (ingest_batch.main, ["--raw", "raw"]),
        (validate_batch.main, ["--raw", "raw", "--report", "validate_batch"]),
        (featurize_batch.main, ["--raw", "raw", "--gate", "validate_batch", "--features", "features.parquet"]),
        (validate_features.main, ["--features", "features.parquet", "--model", "model.onnx", "--report", "validate_features"]),
    )
    for step, arguments in steps:
        if step(arguments) != 0:
            failure: dict[str, Any] = json.loads(FAILURE_FILE.read_text(encoding="utf-8"))
            return failure
    return None


def read_night() -> list[tuple[Any, ...]]:
    """Return the rows of the night as they were ingested, in the form of `Delivery.wanted`."""
    table = pq.read_table("raw/events.parquet")
    night = table.filter(pc.equal(pc.strftime(table["placed_at"], "%Y-%m-%d"), str(NIGHT))).drop_columns(["refund"])
    return sorted((tuple(row.values()) for row in night.to_pylist()), key=lambda row: row[0])
