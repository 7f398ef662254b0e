"""The vectors of a month: the encoder's own, next to key, partition and outcome, and none of another encoder's."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.index.embed import embed, main
from pipelines.lib.core.errors import ModelError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.encoders.encoder import load_encoder
from pipelines.lib.encoders.vectors import Shards
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.tables.dataset import Dataset
from tests.trained_encoder import encoder_bytes, history, write_history

REPOSITORY = Path(__file__).parents[3]
DECLARED = {
    "name": "things",
    "source": {"kind": "parquet", "path": "things.parquet"},
    "key": ["key"],
    "event_time": "at",
    "label": {"name": "late", "expression": "x", "delay_days": 1},
    "columns": {"key": {"type": "integer"}, "at": {"type": "date"}},
}
DATASET = parse_section(DECLARED, Dataset, "dataset")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("encoder.onnx").write_bytes(encoder_bytes())
    write_history(Path("2013-03.parquet"))
    return tmp_path


def test_a_shard_holds_the_vectors_next_to_their_rows(workspace: Path) -> None:
    encoder = load_encoder(Path("encoder.onnx"))
    assert embed(DATASET, encoder, Path("2013-03.parquet"), Path("vectors/2013-03")) == 6_000
    shards = Shards.open(Path("vectors"), ["2013-03"])
    assert (shards.count, shards.dimension, shards.encoder_sha256) == (6_000, 8, encoder.sha256)
    assert shards.parts[0].vectors.tobytes() == encoder.encode(history().features).tobytes()
    expected = history().rows.select(["key", "partition"]).append_column("outcome", pa.array(history().labels))
    assert pa.Table.from_batches(shards.batches()) == expected


def test_its_bytes_are_the_same_each_time(workspace: Path) -> None:
    for name in ("one", "two"):
        embed(DATASET, load_encoder(Path("encoder.onnx")), Path("2013-03.parquet"), Path(name))
    for file in ("vectors.npy", "rows.parquet"):
        assert Path("one", file).read_bytes() == Path("two", file).read_bytes()


def test_a_month_without_rows_is_an_empty_shard(workspace: Path) -> None:
    given = history()
    write_history(Path("2013-02.parquet"), History(given.features[:0], np.array([], dtype=np.int8), given.rows.slice(0, 0), given.names))
    assert embed(DATASET, load_encoder(Path("encoder.onnx")), Path("2013-02.parquet"), Path("vectors/2013-02")) == 0
    assert Shards.open(Path("vectors"), ["2013-02"]).parts[0].vectors.shape == (0, 8)


def test_the_pinned_encoder_makes_them_and_no_other(workspace: Path) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"dataset": DECLARED, "embed": {}}))
    arguments = ["--shard", "2013-03.parquet", "--encoder", "encoder.onnx", "--vectors", "vectors/2013-03"]
    run = {"partition": "2013-04-01", "model": {"path": "m.onnx", "name": "core"}}
    for sha256, code in ((hashlib.sha256(encoder_bytes()).hexdigest(), 0), ("f" * 64, 1)):
        Path("run.yaml").write_text(
            yaml.safe_dump({**run, "encoder": {"path": "encoder.onnx", "name": "e", "version": "1", "sha256": sha256}})
        )
        assert main(arguments) == code
    assert "ModelError" in Path("failure.json").read_text()


def test_features_of_another_declaration_are_refused(workspace: Path) -> None:
    table = pq.read_table("2013-03.parquet")
    pq.write_table(table.replace_schema_metadata({KEY: Signature(("a", "b", "c", "d"), "1" * 64).to_json()}), "2013-03.parquet")
    with pytest.raises(ModelError, match="declaration"):
        embed(DATASET, load_encoder(Path("encoder.onnx")), Path("2013-03.parquet"), Path("vectors/2013-03"))
    assert not Path("vectors/2013-03").exists()


def test_an_encoder_that_becomes_champion_again_embeds_nothing_again(tmp_path: Path) -> None:
    """DVC compares the file alone: neither who made it champion, nor when."""
    stage = parse_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["embed"]
    [names] = [entry["run.yaml"] for entry in stage["params"] if isinstance(entry, dict)]

    def seen(path: Path) -> dict[str, object]:
        found = parse_yaml(path.read_text(encoding="utf-8"))
        return {name: found["encoder"][name.removeprefix("encoder.")] for name in names}

    def pinned(**changes: object) -> dict[str, object]:
        encoder = PinnedModel.model_validate(
            {"path": "data/champion/encoder.onnx", "name": "e", "version": "1", "sha256": "a" * 64, **changes}
        )
        save_run(RunFile(partition="2013-04-01", model=encoder, encoder=encoder), tmp_path / "run.yaml")
        return seen(tmp_path / "run.yaml")

    assert seen(REPOSITORY / "run.yaml")["encoder.sha256"] is None, "DVC wants the key, also on a laptop"
    assert pinned(ledger_sequence=7) == pinned(ledger_sequence=9, degraded=True, instead_of="2")
    assert pinned() != pinned(sha256="b" * 64)
