"""One step back in the vector index: verified, on record, and done once for each request."""

import json
from pathlib import Path

import pytest
import yaml

from pipelines.index.rollback_index import main
from pipelines.lib.vector_index.generations import current, locate
from tests.small_index import INDEX, Published

BY = ["--actor", "ada", "--reason", "it lied"]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    Path("params.yaml").write_text(yaml.safe_dump({"registry": {"experiment": "e", "name": "model", "encoder": INDEX}}))
    return Published(tmp_path)


def failure() -> tuple[str, str]:
    message = json.loads(Path("failure.json").read_text())
    return message["error"], message["message"]


def test_one_step_back_is_on_record(published: Published) -> None:
    first, _ = published.publish(1), published.publish(2)
    assert main(BY) == 0
    pointer = current(INDEX)
    assert pointer is not None
    last = pointer.history[-1]
    assert (pointer.generation, last.action, last.actor, last.reason) == (first.generation, "rollback", "ada", "it lied")
    note = json.loads(Path("data/reports/rollback_index/report.json").read_text())["note"]
    assert note == f"generation {first.generation} of flights is current (switch 3, encoder version 1)"


def test_a_request_that_is_repeated_is_fulfilled_once(published: Published) -> None:
    published.publish(1)
    second, _ = published.publish(2), published.publish(3)
    for _ in range(2):
        assert main([*BY, "--request", "index_rollback/one"]) == 0
    pointer = current(INDEX)
    assert pointer is not None and (pointer.generation, pointer.sequence) == (second.generation, 4)


def test_a_broken_generation_is_not_rolled_back_to(published: Published) -> None:
    first, second = published.publish(1), published.publish(2)
    (locate(INDEX, first.generation) / "rows.arrow").unlink()
    assert main(BY) == 1
    assert failure()[0] == "ModelError" and "rows.arrow cannot be read" in failure()[1]
    assert current(INDEX) == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "../x", *BY], "generation is '../x'"),
        (["--to", "", *BY], "generation is ''"),
        (["--actor", " ", "--reason", "x"], "--actor is empty"),
        (["--actor", "ada", "--reason", ""], "--reason is empty"),
    ],
)
def test_an_argument_that_is_not_a_generation_or_is_empty_is_refused_by_name(
    published: Published, arguments: list[str], message: str
) -> None:
    published.publish(1)
    second = published.publish(2)
    assert main(arguments) == 1
    assert failure()[0] == "ConfigError" and failure()[1].startswith(message)
    assert current(INDEX) == second


def test_if_no_night_is_published_it_says_so(published: Published) -> None:
    assert main(BY) == 1
    assert failure()[0] == "ModelError" and "nothing to roll back" in failure()[1]
