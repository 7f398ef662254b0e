"""The alarm of the vector index: stale, broken, or of another encoder than the champion; and quiet otherwise."""

import json
from pathlib import Path

import pytest
import yaml

from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.vector_index.generations import locate
from pipelines.monitoring.check_index import main
from tests.small_index import ENCODER_SHA256, INDEX, Published, flip


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The run of a night, 14 days after the first of June."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    monkeypatch.setenv("NIGHTSHIFT_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    params = {"registry": {"experiment": "e", "name": "model", "encoder": INDEX}, "check_index": {"stale_days": 14}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    watched("2013-06-15")
    return Published(tmp_path)


def watched(partition: str) -> None:
    save_run(RunFile(partition=partition, model=PinnedModel(path="model.onnx", name="model")))


def promoted(sequence: int, sha256: str, live_from: str) -> None:
    ledger = Ledger(f"sqlite:///{Path.cwd() / 'ledger.db'}")
    before = str(sequence - 1) if sequence > 1 else None
    ledger.append(Entry(INDEX, sequence, "promote", str(sequence), sha256, "/encoder.onnx", before, live_from, "ada", "better"))


def note() -> str:
    return str(json.loads(Path("data/reports/check_index/report.json").read_text())["note"])


def test_where_nothing_is_published_there_is_no_alarm(published: Published) -> None:
    assert main([]) == 0
    assert note() == "no vector index is published"


def test_a_fresh_and_whole_index_of_the_champion_is_quiet(published: Published) -> None:
    promoted(1, ENCODER_SHA256, "2013-05-01")
    published.publish(1)
    assert main([]) == 0
    assert note() == "index of 2013-06-01"


def test_an_index_that_is_older_than_the_limit_is_stale(published: Published) -> None:
    generation = published.publish(1).generation
    watched("2013-06-16")
    assert main([]) == 1
    message = json.loads(Path("failure.json").read_text())
    assert (message["error"], message["retryable"]) == ("GateFailed", False)
    assert f"STALE: generation {generation} is 15 days older than the night, the limit is 14" in message["message"]
    assert "docs/runbooks/stale-index.md" in message["message"]
    assert note() in message["message"]


def test_an_index_of_the_future_is_not_stale(published: Published) -> None:
    """Somebody scores an old night again."""
    published.publish(1)
    watched("2013-03-01")
    assert main([]) == 0


def test_a_broken_index_is_reported_with_what_is_served_instead(published: Published) -> None:
    first, second = published.publish(1), published.publish(2)
    (locate(INDEX, second.generation) / "index.faiss").write_bytes(b"")
    assert main([]) == 1
    assert f"BROKEN: generation {second.generation}: index.faiss has 0 bytes" in note()
    assert f"{first.generation} is served instead" in note()


def test_a_single_bit_is_found(published: Published) -> None:
    """Anyone who opens the index finds it too; the alarm is for the week in which nobody does."""
    published.publish(1)
    second = published.publish(2)
    flip(locate(INDEX, second.generation) / "index.faiss")
    assert main([]) == 1
    assert f"BROKEN: generation {second.generation}: index.faiss has sha256" in note()


def test_it_is_reported_if_no_generation_is_whole(published: Published) -> None:
    only = published.publish(1)
    (locate(INDEX, only.generation) / "manifest.json").unlink()
    assert main([]) == 1
    assert "BROKEN: no generation of flights is whole" in note()


def test_another_champion_is_an_alarm_only_once_a_rebuild_is_overdue(published: Published) -> None:
    promoted(1, ENCODER_SHA256, "2013-05-01")
    published.publish(1)
    promoted(2, "b" * 64, "2013-06-02")
    assert main([]) == 0, "thirteen days ago: a rebuild may be under way"
    published.publish(10)
    watched("2013-06-17")
    assert main([]) == 1
    assert "was built by version 1, version 2 is champion for 15 days, the limit is 14" in note()
    assert "STALE" not in note()
