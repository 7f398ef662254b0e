"""Small builds of a vector index, each of whose answers tells which build gave it; written as `pipelines.lib.vector_index.build` writes
them.
"""

import datetime as dt
import hashlib
import itertools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.lib.core.atomic import replacing
from pipelines.lib.encoders.vectors import Shard, Shards
from pipelines.lib.measures.neighbours import Vectors
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index import publication as index_publication
from pipelines.lib.vector_index.build import FILLED, build, fill
from pipelines.lib.vector_index.params import BuildIndex, PlanIndex
from pipelines.lib.vector_index.plan import TRAINED, Base, Rebuild, plan
from pipelines.lib.vector_index.search import Searcher

if TYPE_CHECKING:
    from pipelines.lib.vector_index.reader import VectorIndex

DIMENSION = 8
ENCODER_SHA256 = hashlib.sha256(b"encoder").hexdigest()


def vectors_of(count: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    """Return `count` seeded vectors of norm 1, float32 [count, dimension]."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_encoder(path: Path, content: bytes = b"encoder") -> Path:
    """Return a file that stands for an encoder: publishing looks at nothing but its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def rows_of(count: int, mark: int = 0) -> pa.Table:
    """Return the rows of `count` vectors, with `mark` in the key of each."""
    return pa.table(
        {
            "carrier": pa.array([f"build {mark}"] * count, pa.string()),
            "flight": pa.array(np.arange(count), pa.int64()),
            "partition": pa.array(["2013-01-01"] * count, pa.string()),
            "outcome": pa.array(np.arange(count) % 2, pa.int8()),
        }
    )


def make_build(directory: Path, count: int = 50, *, seed: int = 0, mark: int = 0, encoder_sha256: str = ENCODER_SHA256) -> Path:
    """Return an HNSW build of `count` rows; `mark` is in every row's key, so that it tells whose row it is."""
    import faiss

    directory.mkdir(parents=True, exist_ok=True)
    vectors = vectors_of(count, seed)
    index = faiss.IndexHNSWFlat(DIMENSION, 8)
    index.add(vectors)
    faiss.write_index(index, str(directory / "index.faiss"))
    rows = rows_of(count, mark)
    with pa.OSFile(str(directory / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    built: dict[str, Any] = {
        "kind": "hnsw",
        "dimension": DIMENSION,
        "count": count,
        "search": {"ef": 64},
        "parameters": {"m": 8},
        "mode": "full",
        "reason": "a test",
        "base": None,
        "appended_since_full": 0,
        "sweep": [],
        "held_out": None,
        "encoder_sha256": encoder_sha256,
        "faiss": faiss.__version__,
    }
    (directory / "built.json").write_text(json.dumps(built))
    return directory


def flip(path: Path) -> None:
    """Flip one bit of the file; its size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    """Cut the last byte off the file."""
    path.write_bytes(path.read_bytes()[:-1])


INDEX = "flights"


class Published:
    """An index root of its own, to which marked builds are published."""

    def __init__(self, directory: Path, name: str = INDEX) -> None:
        self.name, self.directory, self.root = name, directory, directory / "index"
        self.place = self.root / name
        self.encoder = directory / "encoder.onnx"
        if not self.encoder.exists():
            make_encoder(self.encoder)

    @property
    def on_disk(self) -> list[str]:
        """The directories of the generations that stand there, oldest first, debris too."""
        return sorted(path.name for path in (self.place / "generations").iterdir())

    def build(self, mark: int) -> Path:
        """Return the build of that mark, made on first use; its vectors are its own too."""
        found = self.directory / f"build-{mark}"
        return found if found.exists() else make_build(found, seed=mark, mark=mark)

    def publish(
        self,
        mark: int,
        *,
        expected: int | None = None,
        retain: int = 3,
        build: Path | None = None,
        encoder: Path | None = None,
        **manifest: Any,
    ) -> generations.Pointer:
        """Publish the build of that mark as of that day from June on; `expected` is what the pointer says, unless it is given."""
        seen = generations.current(self.name, self.root)
        description = {
            "partition": str(dt.date(2013, 5, 31) + dt.timedelta(mark)),
            "encoder_name": "encoder",
            "encoder_version": "1",
            "encoder_sha256": ENCODER_SHA256,
        }
        description |= {"run_ref": f"refs/runs/{mark}", "mark": mark, **manifest}
        number = expected if expected is not None else seen.sequence if seen else 0
        return index_publication.publish(
            self.name,
            build or self.build(mark),
            encoder or self.encoder,
            description,
            expected_sequence=number,
            retain=retain,
            actor="test",
            root=self.root,
        )

    def open(self, build: Path) -> "VectorIndex":
        """Return the build, published and opened."""
        from pipelines.lib.vector_index.reader import open_generation

        self.publish(1, build=build, run_ref=build.name)
        return open_generation(self.name, root=self.root)

    def publish_with_another_encoder(self, mark: int) -> generations.Pointer:
        """Publish a build that another encoder made."""
        content = b"another encoder"
        sha256 = hashlib.sha256(content).hexdigest()
        build = make_build(self.directory / f"other-{mark}", seed=mark, mark=mark, encoder_sha256=sha256)
        encoder = make_encoder(self.directory / "other.onnx", content)
        return self.publish(mark, build=build, encoder=encoder, encoder_version="2", encoder_sha256=sha256)

    def rollback(self, to: str = "previous", *, request: str | None = None) -> generations.Pointer:
        """Roll back, as somebody with a reason does."""
        return index_publication.rollback(self.name, to, "ada", "it lied", request=request, root=self.root)


def build_from_arrays(
    vectors: Vectors,
    rows: Any,
    target: Path,
    *,
    plan_index: PlanIndex | None = None,
    build_index: BuildIndex | None = None,
    parts: int = 1,
    encoder_sha256: str | None = None,
    rebuild: Rebuild = "auto",
    base: Path | None = None,
) -> dict[str, Any]:
    """Build into the directory `target`, replacing it, from `vectors` [n, d] and the Arrow table `rows` (key, partition, outcome): what the stages do, in one call.

    `parts`: shards that they are cut into. `base`: a build to append to where the plan allows it. Returns the content of ``built.json``.
    """
    bounds = np.linspace(0, len(vectors), parts + 1).astype(int)
    shards = Shards(
        Shard(f"{part:04}", vectors[start:end], rows.slice(start, end - start), encoder_sha256)
        for part, (start, end) in enumerate(itertools.pairwise(bounds))
    )
    onto: Base | str = "there is none to append to"
    if base is not None:
        onto = Base(base.name, Searcher.open(base))
    with replacing(target) as temporary, tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as scratch:
        made = plan(shards, plan_index or PlanIndex(), Path(scratch), rebuild=rebuild, base=onto)
        filled = []
        for shard in shards.parts if made.fill else ():
            filled.append(Path(scratch) / f"{shard.name}.{FILLED}")
            fill(shard, made.start(shard.name), Path(scratch) / TRAINED, filled[-1])
        appended_to = onto.index if made.base is not None and isinstance(onto, Base) else None
        return build(made, shards, build_index or BuildIndex(), temporary, planned=Path(scratch), filled=filled, base=appended_to)
