"""`free_space` removes the objects that nothing refers to, and no others: on real git, DVC, MLflow and Delta, while runs open and start."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pipelines.lib.champions.registry import connect
from pipelines.lib.core import home, kept
from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.published import nights
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.published.store import evidence_url, scores_url
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.storage import object_store, retention
from pipelines.lib.storage.object_store import Cache
from pipelines.registry import free_space
from tests.registered_models import NAME, REF, Installation, _move_versions, copy_template
from tests.scored_night import write_scores
from tests.servers import s3

pytestmark = pytest.mark.costly  # each runs git and DVC in an installation of its own

OLD = time.time() - 400 * 86_400
ENVIRONMENT = {**os.environ, "DVC_NO_ANALYTICS": "1"}


def git(*arguments: str, when: float | None = None) -> str:
    date = {} if when is None else {"GIT_COMMITTER_DATE": f"{when:.0f} +0000", "GIT_AUTHOR_DATE": f"{when:.0f} +0000"}
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**ENVIRONMENT, **date}).stdout.strip()


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], check=True, capture_output=True, env=ENVIRONMENT)


def record(name: str, content: str, when: float) -> str:
    """Record a run that made a file and a directory of this content; return its ref. The commit is on no branch."""
    graph = {
        "stages": {
            "ingest_batch": {
                "cmd": f"mkdir -p data/raw && echo {content}-a > data/raw/a && echo {content}-b > data/raw/b",
                "outs": ["data/raw"],
            },
            "featurize_batch": {"cmd": f"echo {content} > {nights.FEATURES}", "outs": [nights.FEATURES]},
        }
    }
    head = git("rev-parse", "HEAD")
    Path("dvc.yaml").write_text(yaml.safe_dump(graph))
    dvc("repro")
    git("add", "--force", "dvc.yaml", "dvc.lock")
    git("commit", "-qm", name, when=when)
    git("update-ref", f"refs/runs/nightly/{name}", "HEAD")
    git("reset", "-q", "--hard", head)
    return f"refs/runs/nightly/{name}"


def objects() -> set[str]:
    return {one.md5 for one in Cache(kept.cache_root()).objects()}


def named_by(ref: str) -> set[str]:
    lock = parse_yaml(git("show", f"{ref}:dvc.lock"))
    outs = {out["md5"] for made in lock["stages"].values() for out in made["outs"]}
    return outs | {
        md5 for one in outs if one.endswith(".dir") for md5 in (kept.listing(one, Path(kept.cache_path(one)).read_bytes()) or {}).values()
    }


def age(when: float = OLD) -> None:
    """Make every object an old one."""
    for file in (kept.cache_root() / "files").rglob("*"):
        if file.is_file():
            os.utime(file, (when, when))


def free(*arguments: str) -> dict:
    assert free_space.main(["--days", "30", *arguments]) == 0
    return json.loads(Path("data/reports/free_space/report.json").read_text())


NAMES = ("replaced", "registered", "evidence", "generation", "at_work")


@pytest.fixture(scope="module")
def template(registered_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registered models, and more runs in their repository: old ones, a recent one, and one that a tag keeps."""
    place = tmp_path_factory.mktemp("recorded") / "template"
    shutil.copytree(registered_models, place)
    _move_versions(place / "home" / "mlflow" / "mlflow.db", str(registered_models), str(place))
    before = Path.cwd()
    os.chdir(place / "workspace")
    try:
        for name in NAMES:
            record(name, name, OLD)
        record("recent", "recent", time.time() - 86_400)
        git("tag", "kept", record("tagged", "tagged", OLD))
        git("update-ref", "-d", "refs/runs/nightly/tagged")
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def installation(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return copy_template(template, tmp_path / "installation", monkeypatch)


@pytest.fixture
def runs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The objects of each run. Something else refers to each old run, and the published table refers to `REF`."""
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(Path.cwd()))
    installation.publish()
    refs = {name: f"refs/runs/nightly/{name}" for name in (*NAMES, "recent")}
    connect().set_model_version_tag(NAME, "2", "run_ref", refs["registered"])
    scores = write_scores(installation.root / "evidence.parquet", 5)
    lineage = Lineage("2013-04-01", NAME, "1", "a" * 64, "e", refs["evidence"], "c" * 40, False, datetime(2013, 4, 1, tzinfo=UTC))
    publish(scores, lineage, expected_rows=5, url=evidence_url())
    manifest = home.index_root() / "encoder" / "generations" / "2013-04-01-0123456789ab" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"run_ref": refs["generation"]}))
    workspace = home.home() / "workspaces" / "drift_monitoring" / "one"
    workspace.mkdir(parents=True)
    (workspace / "run.yaml").write_text(f"run_ref: refs/runs/drift_monitoring/not-recorded-yet\nnight_ref: {refs['at_work']}\n")
    age()
    found = {name: named_by(ref) for name, ref in refs.items()} | {"published": named_by(REF), "tagged": named_by("kept")}
    assert all(len(found[name]) >= 2 for name in found)
    return found


def test_only_objects_that_nothing_refers_to_are_freed(runs: dict[str, set[str]], tmp_path: Path) -> None:
    before = objects()
    dry = free()
    assert objects() == before, "a dry run by default"
    gone = runs["replaced"] - set().union(*(named for name, named in runs.items() if name != "replaced"))
    sizes = sum(kept.cache_path(md5).stat().st_size for md5 in gone)
    assert dry["places"]["cache"] == {**dry["places"]["cache"], "freed_objects": len(gone), "freed_bytes": sizes}
    assert "would be freed" in dry["note"]
    done = free("--free")
    assert before - objects() == gone
    assert done["places"] == dry["places"]
    assert free("--free")["places"]["cache"]["freed_objects"] == 0
    nights.fetch(REF, nights.FEATURES, tmp_path / "features")
    nights.fetch("refs/runs/nightly/recent", nights.FEATURES, tmp_path / "recent")
    assert (tmp_path / "recent").read_text() == "recent\n"


def test_freed_files_are_made_again(runs: dict[str, set[str]], tmp_path: Path) -> None:
    """DVC still knows the outputs of the stages, and that their files are gone."""
    free("--free")
    assert not runs["replaced"] <= objects()
    record("once_more", "replaced", time.time())
    assert runs["replaced"] <= objects()
    nights.fetch("refs/runs/nightly/replaced", nights.FEATURES, tmp_path / "features")
    assert (tmp_path / "features").read_text() == "replaced\n"


def test_objects_written_within_the_limit_are_kept(runs: dict[str, set[str]]) -> None:
    """A run that has made a file, and has not recorded it yet, loses nothing."""
    age(time.time() - 29 * 86_400)
    assert free("--free")["places"]["cache"]["freed_objects"] == 0
    assert runs["replaced"] <= objects()


def test_an_open_run_keeps_the_files_that_it_has_restored(runs: dict[str, set[str]]) -> None:
    workspace = home.home() / "workspaces" / "nightly_batch_scoring" / "again"
    (workspace / ".dvc" / "tmp").mkdir(parents=True)
    lock = git("show", "refs/runs/nightly/replaced:dvc.lock")
    (workspace / "dvc.lock").write_text(lock[: len(lock) // 2])  # torn: DVC is writing it
    (workspace / ".dvc" / "tmp" / "dvc.lock.whole").write_text(lock)
    free("--free")
    assert runs["replaced"] <= objects()


def test_a_run_that_publishes_and_closes_during_the_survey_keeps_its_files(runs: dict[str, set[str]]) -> None:
    """An old run that was cleared: the table does not refer to it yet, and a moment later its workspace is gone."""
    workspace = home.home() / "workspaces" / "nightly_batch_scoring" / "again"
    workspace.mkdir(parents=True)
    (workspace / "dvc.lock").write_text(git("show", "refs/runs/nightly/replaced:dvc.lock"))
    cache = Cache(kept.cache_root())

    def named() -> set[str]:
        seen = retention.published_runs([scores_url()])
        shutil.rmtree(workspace)
        return seen

    keep = retention.kept_objects(Path.cwd(), named, time.time() - 30 * 86_400, cache.read)
    assert runs["replaced"] <= keep


def test_files_of_the_working_tree_are_kept(runs: dict[str, set[str]]) -> None:
    Path("dvc.lock").write_text(git("show", "refs/runs/nightly/replaced:dvc.lock"))
    free("--free")
    assert runs["replaced"] <= objects()


def test_the_remote_is_freed_when_asked(runs: dict[str, set[str]], tmp_path: Path) -> None:
    dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    (tmp_path / "store" / "files").mkdir(parents=True)
    subprocess.run(["cp", "-a", str(kept.cache_root() / "files" / "md5"), str(tmp_path / "store" / "files")], check=True)
    stored = Cache(tmp_path / "store")
    before = {one.md5 for one in stored.objects()}
    assert "remote" not in free("--free")["places"]
    assert {one.md5 for one in stored.objects()} == before
    report = free("--free", "--remote")
    gone = before - {one.md5 for one in stored.objects()}
    assert gone and gone <= runs["replaced"]
    assert report["places"]["remote"]["freed_objects"] == len(gone)


@pytest.mark.slow
@pytest.mark.integration
def test_a_bucket_is_freed_like_a_directory(runs: dict[str, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, with the pages, dates and errors of S3. The server dates its objects, so the test moves the clock of `free_space` by 40 days."""
    with s3(tmp_path / "s3.log") as url:
        dvc("remote", "add", "--local", "--default", "store", "s3://nights/dvc")
        for key, value in (("endpointurl", url), ("access_key_id", "x"), ("secret_access_key", "x")):
            dvc("remote", "modify", "--local", "store", key, value)
        store = object_store.remote_of(Path.cwd())
        assert isinstance(store, object_store.Bucket)
        files = store._odb.fs.fs
        files.call_s3("create_bucket", Bucket="nights")
        files.put(f"{kept.cache_root() / 'files' / 'md5'}/", store._odb.path, recursive=True)
        before = {one.md5: one.size for one in store.objects()}
        assert before == {one.md5: one.size for one in Cache(kept.cache_root()).objects()}
        assert free("--free", "--remote")["places"]["remote"]["freed_objects"] == 0, "all of it was written just now"
        assert free("--remote")["places"]["remote"]["bytes"] == sum(before.values())

        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 40 * 86_400)
        named = set().union(*(named for name, named in runs.items() if name not in ("replaced", "recent")))
        gone = (runs["replaced"] | runs["recent"]) - named
        assert gone & before.keys() == gone
        dry = free("--remote")["places"]["remote"]
        assert {one.md5 for one in store.objects()} == before.keys(), "a dry run by default"
        report = free("--free", "--remote")["places"]["remote"]
        assert before.keys() - {one.md5 for one in store.objects()} == gone
        assert report == dry == {**dry, "freed_objects": len(gone), "freed_bytes": sum(before[md5] for md5 in gone)}
        monkeypatch.undo()
        assert store.read(next(iter(gone))) is None
        store.remove((object_store.Object(next(iter(gone)), 1, 0.0),))  # removing it a second time is not an error


@pytest.mark.slow
@pytest.mark.integration
def test_a_bucket_that_does_not_answer_is_tried_again_and_frees_nothing(runs: dict[str, set[str]]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        dvc("remote", "add", "--local", "--default", "store", "s3://nights/dvc")
        for key, value in (
            ("endpointurl", f"http://127.0.0.1:{closed.getsockname()[1]}"),
            ("access_key_id", "x"),
            ("secret_access_key", "x"),
        ):
            dvc("remote", "modify", "--local", "store", key, value)
        before = objects()
        age()
        assert free_space.main(["--days", "30", "--free", "--remote"]) == 1
        failure = json.loads(Path("failure.json").read_text())
        assert (failure["error"], failure["retryable"]) == ("TransientError", True), failure
        assert "s3://nights/dvc" in failure["message"]
        assert objects() == before


def test_runs_wait_while_space_is_freed_and_free_space_waits_for_runs(runs: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts now would use an old object of the cache: DVC must not start between the survey and the removal."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "plugins"))
    from nightshift_airflow.cache_lock import LOCK, cache_in_use

    assert LOCK == object_store.LOCK
    cache = kept.cache_root()
    with cache_in_use(cache), cache_in_use(cache):  # two runs at once
        monkeypatch.setattr(free_space, "WAIT_S", 0.3)
        assert free_space.main(["--days", "30", "--free"]) == 1
        assert json.loads(Path("failure.json").read_text())["error"] == "TransientError"
        assert runs["replaced"] <= objects()
        free()  # a dry run waits for nobody
    entered = threading.Event()

    def start() -> None:
        with cache_in_use(cache):
            entered.set()

    with object_store.alone(cache, Path.cwd(), 5):
        with Path(".dvc/tmp/lock").open("a") as laptop, pytest.raises(BlockingIOError):
            fcntl.flock(laptop, fcntl.LOCK_EX | fcntl.LOCK_NB)
        thread = threading.Thread(target=start)
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(30)
    thread.join()


def test_nothing_is_freed_if_something_cannot_be_read(runs: dict[str, set[str]]) -> None:
    keep = {one for one in runs["published"] if one.endswith(".dir")} | {one for one in runs["registered"] if one.endswith(".dir")}
    listing = kept.cache_path(sorted(keep)[0])
    listing.chmod(0o644)
    content = listing.read_bytes()
    listing.write_bytes(content.replace(b"relpath", b"relpaht"))
    with pytest.raises(DataError, match="was altered, so its files are unknown; nothing was freed"):
        free_space.free_space(Path.cwd(), {"cache": Cache(kept.cache_root())}, {(NAME, "2"): "refs/runs/nightly/registered"}, 30, free=True)
    listing.write_bytes(content)
    git("update-ref", "-d", "refs/runs/nightly/generation")
    with pytest.raises(ConfigError, match=r"1 runs that .* refs/runs/nightly/generation.*fetch refs/runs"):
        free_space.free_space(Path.cwd(), {"cache": Cache(kept.cache_root())}, {(NAME, "2"): "refs/runs/nightly/registered"}, 30, free=True)
    manifest = next(home.index_root().glob("*/generations/*/manifest.json"))
    manifest.write_text("{")
    with pytest.raises(DataError, match="nobody can tell which run made it"):
        retention.generation_runs(home.index_root())


def test_a_version_that_mlflow_has_lost_is_reported(runs: dict[str, set[str]], installation: Installation) -> None:
    installation.promoted("1", "2")
    report = free()
    assert report["warnings"] == [f"{NAME} version 1 is in the ledger, but MLflow does not say which run made it"]
    assert report["warnings"][0] in report["note"]


def test_a_lost_version_of_a_use_case_that_was_removed_is_reported(runs: dict[str, set[str]]) -> None:
    Ledger(home.ledger_url()).append(Entry("gone_model", 1, "promote", "7", "0" * 64, "/model.onnx", None, "2013-04-01", "test", "test"))
    assert "gone_model version 7 is in the ledger, but MLflow does not say which run made it" in free()["warnings"]


@pytest.mark.parametrize("days", ["0", "-1", "0.5"])
def test_a_limit_below_a_day_is_refused(runs: dict[str, set[str]], days: str) -> None:
    assert free_space.main(["--days", days, "--free"]) == 1
    assert json.loads(Path("failure.json").read_text())["error"] == "ConfigError"


def test_waiting_ends(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    with (tmp_path / "cache" / object_store.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(TransientError, match="nothing was freed"), object_store.alone(tmp_path / "cache", tmp_path, 0.2):
            pass
