"""Whether demo and `make up` still need a first index: not where one stands that knows the features as they are declared now."""

from pathlib import Path

import pytest

from deploy.embedded.first_index import published_index, published_since
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core.run import PinnedIndex
from pipelines.lib.features.compute import identity, load_features
from pipelines.lib.features.signature import Signature
from pipelines.lib.tables.dataset import load_dataset
from pipelines.lib.vector_index import generations
from tests import indexed_nights
from tests import scored_night as night

ROOT = Path(__file__).resolve().parents[2]


def publish(scratch: Path, declaration: str) -> PinnedIndex:
    """Return a generation whose encoder was made for features of that digest."""
    return indexed_nights.publish(scratch, *indexed_nights.past(50), Signature(night.NAMES, declaration), load_registry().encoder)


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))


def test_nothing_is_published_yet() -> None:
    assert published_index() is None


@pytest.mark.costly
def test_an_index_of_the_declared_features_is_kept(tmp_path: Path) -> None:
    pinned = publish(tmp_path, identity(load_dataset(), load_features())["sha256"])
    found = published_index()
    assert found is not None
    assert (found["generation"], found["count"], found["encoder_version"]) == (pinned.generation, 50, "3")


def test_an_index_of_other_features_is_rebuilt(tmp_path: Path) -> None:
    publish(tmp_path, "6" * 64)
    assert published_index() is None


def test_a_broken_index_is_rebuilt(tmp_path: Path) -> None:
    pinned = publish(tmp_path, identity(load_dataset(), load_features())["sha256"])
    (generations.locate(pinned.name, pinned.generation) / "encoder.onnx").write_bytes(b"torn")
    assert published_index() is None


def test_files_are_looked_at_only_where_somebody_has_published_since(tmp_path: Path) -> None:
    assert published_since(None) == (None, None)
    publish(tmp_path, "6" * 64)
    assert published_since(None) == (1, None), "an index of other features"
    publish(tmp_path / "more", identity(load_dataset(), load_features())["sha256"])
    assert published_since(1) == (2, published_index())
    assert published_since(2) == (2, None)
