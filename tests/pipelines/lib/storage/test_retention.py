"""Runs and commits that are named: by published rows, which may be damaged, by runs that are still open, and by versions."""

import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.storage.retention import kept_objects, published_runs


def test_a_flipped_bit_in_a_published_table_names_no_other_run(tmp_path: Path) -> None:
    rows = pa.table({"run_ref": ["refs/runs/nightly/one"] * 100})
    write_deltalake(tmp_path / "scores", rows)
    [file] = (tmp_path / "scores").glob("*.parquet")
    size = file.stat().st_size
    pq.write_table(rows, file, compression="none", write_page_checksum=True)
    content = bytearray(file.read_bytes())
    content[content.index(b"nightly/one") + 10] ^= 1
    log = tmp_path / "scores" / "_delta_log" / f"{0:020}.json"
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{len(content)}'))
    assert published_runs([str(tmp_path / "scores")]) == {"refs/runs/nightly/one"}
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"scores cannot be read to its end .*nothing was freed"):
        published_runs([str(tmp_path / "scores")])


def test_a_run_that_is_open_and_has_registered_a_model_does_not_stop_the_survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenger waits days for its approval: until then its run has a workspace and no ref, and no space could be freed."""
    repository, ref = tmp_path / "repository", "refs/runs/drift_triggered_retraining/waits"
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "--message", "empty"], cwd=repository, check=True)
    with pytest.raises(ConfigError, match="1 runs that rows, versions or generations name are not recorded"):
        kept_objects(repository, lambda: [ref], 0, lambda md5: None)
    workspace = tmp_path / "home" / "workspaces" / "drift_triggered_retraining" / "waits"
    workspace.mkdir(parents=True)
    (workspace / "run.yaml").write_text(f"run_ref: {ref}\n")
    (workspace / "dvc.lock").write_text(f"md5: {'a' * 32}\n")
    assert kept_objects(repository, lambda: [ref], 0, lambda md5: None) == {"a" * 32}
    with pytest.raises(ConfigError, match="nightly/lost"):  # a run that an open run only looks at must be recorded
        (workspace / "run.yaml").write_text(f"run_ref: {ref}\nnight_ref: refs/runs/nightly/lost\n")
        kept_objects(repository, lambda: [ref, "refs/runs/nightly/lost"], 0, lambda md5: None)


def test_a_commit_that_only_a_version_names_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch may have been removed or rebased since: then no ref leads to the commit of a registered version."""
    repository = tmp_path / "repository"
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(repository)], check=True)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        return subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout.strip()

    git("commit", "--quiet", "--allow-empty", "--message", "first")
    git("switch", "--quiet", "--create", "trial")
    (repository / "dvc.lock").write_text(f"md5: {'b' * 32}\n")
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", "trained")
    commit = git("rev-parse", "HEAD")
    git("switch", "--quiet", "main")
    git("branch", "--quiet", "--delete", "--force", "trial")
    assert kept_objects(repository, list, 0, lambda md5: None) == set()
    assert kept_objects(repository, lambda: [commit], 0, lambda md5: None) == {"b" * 32}
