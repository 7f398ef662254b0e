"""The parameters of use cases are kept between processes, and never outdated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nightshift_airflow import kept_parameters, places, use_cases

from pipelines.lib.core import use_cases as declared

ROOT = Path(__file__).resolve().parents[3]
FRAUD = {"dataset": {"event_time": "paid_at"}, "features": {}, "nightly_batch_scoring": {"cron": "30 3 * * *"}, "pool": {"slots": 2}}


@pytest.fixture
def parsed_files(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Two use cases next to the default one, one of them broken; yields the files that are parsed as YAML from now on."""
    (repository / "pipelines").mkdir(exist_ok=True)
    for name in ("params.yaml", "pipelines/defaults.yaml"):
        (repository / name).write_bytes((ROOT / name).read_bytes())
    write(repository, "fraud", FRAUD)
    write(repository, "churn", {"trian": {}})
    parsed: list[Path] = []
    parse = declared._parse.__wrapped__

    def watched(path: Path, written: int) -> dict[str, Any]:
        parsed.append(path.relative_to(repository))
        return parse(path, written)

    monkeypatch.setattr(declared, "_parse", watched)
    yield parsed


def write(repository: Path, name: str, content: dict[str, Any]) -> None:
    path = repository / "use_cases" / name / "params.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def declaration(name: str) -> Path:
    return Path("use_cases", name, "params.yaml")


def test_a_use_case_is_parsed_once_for_all_processes_also_if_it_is_broken(parsed_files: list[Path]) -> None:
    first = use_cases.use_cases()
    assert {declaration("fraud"), declaration("churn")} <= set(parsed_files)
    broken = use_cases.broken()
    parsed_files.clear()
    assert use_cases.use_cases() == first
    assert use_cases.broken() == broken
    assert set(parsed_files) == {Path("params.yaml")}, "the default use case's, for its name"
    assert [one.slots for one in first] == [None, 2]
    assert list(broken) == ["churn"]
    assert "unknown section 'trian'" in broken["churn"]


def test_a_broken_use_case_that_is_repaired_is_sound_at_once(parsed_files: list[Path], repository: Path) -> None:
    assert list(use_cases.broken()) == ["churn"]
    write(repository, "churn", FRAUD | {"dataset": {"name": "churn", "event_time": "left_at"}})
    assert use_cases.broken() == {}
    assert [one.name for one in use_cases.use_cases()] == ["flights", "churn", "fraud"]


def test_a_file_that_cannot_be_read_is_read_again_the_next_time(parsed_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    content = declared._parse

    def torn(path: Path, written: int) -> dict[str, Any]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(declared, "_parse", torn)
    assert use_cases.broken().keys() == {"default", "churn", "fraud"}
    monkeypatch.setattr(declared, "_parse", content)
    assert list(use_cases.broken()) == ["churn"]


def test_a_changed_file_is_parsed_again_and_the_old_entry_goes(parsed_files: list[Path], repository: Path) -> None:
    use_cases.use_cases()
    write(repository, "fraud", {**FRAUD, "nightly_batch_scoring": {"cron": "15 4 * * *"}, "pool": {"slots": 3}})
    fraud = use_cases.use_cases()[1]
    assert (fraud.slots, fraud.settings("nightly_batch_scoring")["cron"]) == (3, "15 4 * * *")
    derived = repository / "use_cases" / "fraud" / "derived.yaml"
    derived.write_text("dataset: {weekdays: [monday]}\n", encoding="utf-8")
    assert use_cases.use_cases()[1].has_empty_nights
    defaults = repository / "pipelines" / "defaults.yaml"
    defaults.write_text(defaults.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    parsed_files.clear()
    use_cases.use_cases()
    assert declaration("fraud") in parsed_files
    assert len(kept_parameters._read()) == 3


def test_other_code_reads_the_declarations_again(parsed_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    use_cases.use_cases()
    parsed_files.clear()
    monkeypatch.setattr(kept_parameters, "_code", lambda: "another version")
    use_cases.use_cases()
    assert declaration("fraud") in parsed_files


def test_a_use_case_that_breaks_is_named_each_time(parsed_files: list[Path], repository: Path) -> None:
    use_cases.use_cases()
    write(repository, "fraud", {**FRAUD, "nightly_batch_scoring": {"cron": "never"}})
    assert "never" in use_cases.broken()["fraud"]
    assert "never" in use_cases.broken()["fraud"]


def test_a_date_of_yaml_stays_a_date(parsed_files: list[Path], repository: Path) -> None:
    (repository / "use_cases" / "fraud" / "params.yaml").write_text(
        "dataset: {event_time: paid_at}\nfeatures: {}\nfirst_run: {partition: 2024-03-01}\n", encoding="utf-8"
    )
    first = use_cases.use_cases()[1]
    assert use_cases.use_cases()[1] == first
    assert len(kept_parameters._read()) == 2, "the default use case and the broken one"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_damaged_file_is_written_again(parsed_files: list[Path], content: bytes) -> None:
    first = use_cases.use_cases()
    kept = places.home() / "parameters.json"
    sound = kept.read_bytes()
    kept.write_bytes(content)
    assert use_cases.use_cases() == first
    assert kept.read_bytes() == sound


def test_a_state_that_cannot_be_written_costs_time_alone(parsed_files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "no_folder"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(file))
    assert [one.name for one in use_cases.use_cases()] == ["flights", "fraud"]
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "a?b"))
    assert [one.name for one in use_cases.use_cases()] == ["flights", "fraud"]
