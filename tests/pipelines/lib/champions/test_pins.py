"""The versions that a run is pinned to, as far as no registry is needed; the rest is tested with `pin_run` and `register`."""

import datetime as dt
from pathlib import Path

import pytest

from pipelines.lib.champions import pins
from pipelines.lib.champions.pins import months, pin_index, pin_model, require_no_older
from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile
from pipelines.lib.records.ledger import Ledger
from pipelines.lib.vector_index import generations
from tests.small_index import INDEX, Published


@pytest.mark.parametrize(
    ("start", "last", "expected"),
    [
        ("2013-01-01", dt.date(2013, 3, 30), ("2013-01", "2013-02", "2013-03")),
        ("2013-11-15", dt.date(2014, 1, 1), ("2013-11", "2013-12", "2014-01")),
        ("2013-03-31", dt.date(2013, 3, 31), ("2013-03",)),
        ("2013-04-01", dt.date(2013, 3, 31), ()),
    ],
)
def test_the_months_of_the_shards_hold_every_date_and_no_month_twice(start: str, last: dt.date, expected: tuple[str, ...]) -> None:
    assert months(start, last) == expected


def test_an_open_start_has_no_first_month() -> None:
    with pytest.raises(ConfigError, match=r"ingest_history\.start is null"):
        months(None, dt.date(2013, 3, 31))


def test_a_night_does_not_wait_for_the_whole_index_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    published = Published(tmp_path)
    first, second = published.publish(1), published.publish(2)
    file = generations.locate(INDEX, second.generation) / "index.faiss"
    file.write_bytes(bytes(file.stat().st_size))
    night, rebuild = pin_index(INDEX, digests=False), pin_index(INDEX, digests=True)
    assert night is not None and (night.generation, night.degraded) == (second.generation, False), "who opens it finds that out"
    assert rebuild is not None and (rebuild.generation, rebuild.degraded) == (first.generation, True)


def test_a_disk_that_fails_costs_the_night_its_evidence_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(generations, "usable", fails)
    assert pin_index(INDEX, digests=False) is None
    assert "NO INDEX: [Errno 116] Stale file handle" in caplog.text


def test_an_older_rebuild_is_refused_before_it_is_made() -> None:
    pinned = PinnedIndex(
        name=INDEX,
        generation="2013-06-01-0123456789ab",
        manifest_sha256="0" * 64,
        partition="2013-06-01",
        encoder_version="1",
        encoder_sha256="0" * 64,
        sequence=1,
    )
    run = RunFile(partition="2013-05-31", model=PinnedModel(path="m", name="m"), index=pinned)
    with pytest.raises(ConfigError, match=r"as of 2013-05-31, but generation 2013-06-01-0123456789ab .* index_rollback; .* rebuild: full"):
        require_no_older(run)
    for allowed in ({"rebuild": "full"}, {"partition": "2013-06-01"}, {"index": None}):
        require_no_older(run.model_copy(update=allowed))


def test_a_missing_encoder_is_reported_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^flights has no champion; trigger encoder_training$"):
        pin_model(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"), INDEX, tmp_path / "encoder.onnx", remedy=pins.FIRST_ENCODER)
