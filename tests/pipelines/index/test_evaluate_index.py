"""The gate of the index on real builds: a good one passes, each fault is refused with its figure, and the report is the same each time."""

import json
import shutil
from functools import cache
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
import yaml

from pipelines.index.evaluate_index import main
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.reports import require_passed
from pipelines.lib.vector_index import timing as index_timing
from pipelines.lib.vector_index.params import PlanIndex
from tests.page_rules import broken_rules
from tests.small_index import build_from_arrays

PARTITION = "2013-04-01"
LIMITS = {"recall_10": {"hnsw": 0.98, "ivfpq": 0.95}, "latency_p99_limit_ms": 1_000.0, "size_limit_mib": 50}
REPORT = Path("data/reports/evaluate_index")
BUILD = Path("data/index/build")


@cache
def vectors(rows: int) -> np.ndarray:
    """Return vectors of norm 1 around forty centres."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(40, 16))[rng.integers(40, size=rows)] + 0.4 * rng.normal(size=(rows, 16))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def build(target: Path, rows: int = 3_000, kind: str = "hnsw") -> Path:
    table = pa.table(
        {
            "flight": pa.array(np.arange(rows)),
            "partition": pa.array([f"2013-03-{1 + row // 150:02}" for row in range(rows)], pa.string()),
            "outcome": pa.array(np.arange(rows) % 2, pa.int8()),
        }
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    build_from_arrays(vectors(rows), table, target, plan_index=PlanIndex(kind=kind, queries=500))  # type: ignore[arg-type]
    return target


@pytest.fixture(scope="module", params=["hnsw", "ivfpq"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp(request.param) / "build", kind=request.param)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    given(LIMITS)
    Path("run.yaml").write_text(yaml.safe_dump({"partition": PARTITION, "model": {"path": "m", "name": "M"}}))
    return tmp_path


def given(limits: dict) -> None:
    columns = {"flight": {"type": "integer"}, "day": {"type": "date"}}
    label = {"name": "late", "expression": "x", "delay_days": 1}
    dataset = {
        "name": "f",
        "source": {"kind": "parquet", "path": "f"},
        "key": ["flight"],
        "event_time": "day",
        "label": label,
        "columns": columns,
    }
    Path("params.yaml").write_text(yaml.safe_dump({"dataset": dataset, "evaluate_index": limits}))


def judged(*, code: int = 0) -> dict:
    assert main(["--build", str(BUILD), "--report", str(REPORT)]) == code
    return json.loads((REPORT / "report.json").read_text())


@pytest.mark.slow
def test_a_good_build_passes_and_is_reported_byte_for_byte_the_same(workspace: Path, built: Path) -> None:
    shutil.copytree(built, BUILD)
    report = judged()
    assert (report["passed"], report["rows"], report["leave_one_out"]["queries"], report["faults"]) == (True, 3_000, 500, [])
    for asked, queries in (("held_out", 150), ("leave_one_out", 500)):
        assert LIMITS["recall_10"][report["kind"]] <= report[asked]["recall_10"] <= 1  # type: ignore[index]
        assert report[asked]["queries"] == queries
    assert [point["recall_10"] for point in report["curve"]] == sorted(point["recall_10"] for point in report["curve"])
    assert sum(report["search"].items() <= point.items() for point in report["curve"]) == 1
    assert report["files"]["index.faiss"]["sha256"] == sha256_of(BUILD / "index.faiss")
    assert require_passed(REPORT / "report.json", "evaluate_index", PARTITION) == 3_000
    before = {name: (REPORT / name).read_bytes() for name in ("report.json", "projection.json")}
    judged()
    assert before == {name: (REPORT / name).read_bytes() for name in before}
    page = (REPORT / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "passes its gate" in page
    assert not broken_rules(page)


@pytest.mark.slow
def test_what_was_measured_is_of_this_very_index(workspace: Path, built: Path) -> None:
    shutil.copytree(built, BUILD)
    report = judged()
    timing = index_timing.Timing(**json.loads(index_timing.FILE.read_text()))
    assert timing.index_sha256 == report["files"]["index.faiss"]["sha256"]
    assert 0 < timing.single_p50_us <= timing.single_p99_us
    assert 0 < timing.batch_p50_ms <= timing.batch_p99_ms
    assert len(timing.curve) == len(report["curve"])


@pytest.mark.costly
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"recall_10": {"hnsw": 0.98, "ivfpq": 0.98}},
            "of the ten true neighbours of 500 rows of its own, each left out of its answer, the limit for",
        ),
        ({"latency_p99_limit_ms": 1e-6}, "ms of processor time at the 99th percentile, the limit is 1e-06 ms"),
        ({"size_limit_mib": 0.01}, "MiB, the limit is 0.01 MiB"),
    ],
)
def test_a_fault_is_refused_with_its_figure_and_the_report_is_written(workspace: Path, built: Path, limits: dict, message: str) -> None:
    shutil.copytree(built, BUILD)
    given(LIMITS | limits)
    spoil(BUILD)
    report = judged(code=1)
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("GateFailed", False)
    assert message in failure["message"]
    assert report["passed"] is False
    assert "does not pass" in (REPORT / "report.html").read_text()


@pytest.mark.slow
def test_nights_that_it_does_not_hold_are_to_be_found_as_well(workspace: Path, built: Path) -> None:
    shutil.copytree(built, BUILD)
    message = json.loads((BUILD / "built.json").read_text())
    message["held_out"]["recall_10"] = 0.91
    (BUILD / "built.json").write_text(json.dumps(message))
    report = judged(code=1)
    [fault] = report["faults"]
    assert "finds 0.9100 of the ten true neighbours of 150 rows of nights that it did not hold" in fault
    assert f"raise build_index.{report['kind']}.recall_10" in fault


def spoil(directory: Path) -> None:
    """Have the build find little: a graph with hardly an edge, or a search through one list."""
    built = json.loads((directory / "built.json").read_text())
    if built["kind"] == "hnsw":
        index = faiss.IndexHNSWFlat(16, 2)
        index.hnsw.efConstruction = 1
        index.add(vectors(3_000))
        faiss.write_index(index, str(directory / "index.faiss"))
    built["search"] = {"ef": 1} if built["kind"] == "hnsw" else {"nprobe": 1, "refine": 1}
    (directory / "built.json").write_text(json.dumps(built))


@pytest.mark.costly
@pytest.mark.parametrize("rows", [0, 1, 2, 9])
def test_few_rows_are_judged_on_what_there_is(workspace: Path, rows: int) -> None:
    build(BUILD, rows)
    report = judged()
    assert report["passed"] is True
    assert report["held_out"] is None
    assert report["leave_one_out"]["recall_10"] == (None if rows < 2 else 1.0)
    assert report["leave_one_out"]["queries"] == (0 if rows < 2 else rows)
    assert index_timing.FILE.exists() == (rows >= 2)
    page = Path("data/reports/evaluate_index/report.html").read_text(encoding="utf-8")
    assert '<header class="unjudged">' in page
    assert "passes its gate; its recall on new nights is not judged" in page


@pytest.mark.costly
def test_only_the_time_of_this_build_is_reported(workspace: Path) -> None:
    build(BUILD, 300)
    page = Path("data/reports/evaluate_index/report.html")
    for built, message in ((sha256_of(BUILD / "index.faiss"), True), ("0" * 64, False)):
        index_timing.write_build(built, 12.345)
        judged()
        assert (json.loads(index_timing.FILE.read_text())["build_s"] == 12.35) == message
        assert ('<td class="number">12.35</td>' in page.read_text()) == message


@pytest.mark.costly
def test_an_index_without_neighbours_leaves_no_timing_of_another(workspace: Path) -> None:
    index_timing.FILE.parent.mkdir(parents=True)
    index_timing.FILE.write_text("{}")
    build(BUILD, 1)
    judged()
    assert not index_timing.FILE.exists()


@pytest.mark.costly
def test_a_torn_build_is_refused(workspace: Path, built: Path) -> None:
    shutil.copytree(built, BUILD)
    (BUILD / "index.faiss").write_bytes((BUILD / "index.faiss").read_bytes()[:1_000])
    assert main(["--build", str(BUILD), "--report", str(REPORT)]) == 1
    assert json.loads(Path("failure.json").read_text())["error"] == "DataError"
