"""The tags of a registered version, from which the model can be rebuilt."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import read_params, read_yaml
from pipelines.lib.core.run import RunFile


def lineage(run: RunFile) -> dict[str, str]:
    """Return what it takes to rebuild the model: every tag of a version but its digest.

    Raises `ConfigError` for uncommitted changes outside a run, which pins its own commit.
    """
    lock = read_yaml(Path("dvc.lock"))["stages"]
    commit = run.git_commit
    if not commit:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        if changed:
            raise ConfigError(f"the working tree has uncommitted changes, so a version could not be rebuilt; commit them first:\n{changed}")
        commit = _git("rev-parse", "HEAD")
    return {
        "git_commit": commit,
        "snapshot": str(run.snapshot).lower(),
        "run_ref": run.run_ref or commit,
        "partition": run.partition,
        "data_revision": _md5_of(lock, "ingest_history"),
        "dvc_lock_sha256": sha256_of(Path("dvc.lock")),
        "suite_hash": suite_hash(Path("data/reports/validate_history/report.json")),
        "requirements_sha256": sha256_of(Path("requirements.txt")),
    }


def suite_hash(report: Path) -> str:
    """Return the digest of what the history was compared with: every expectation with its limits, without the verdicts."""
    try:
        findings = json.loads(report.read_text(encoding="utf-8"))["expectations"]
    except OSError as error:
        raise ConfigError(f"{report} cannot be read ({error.strerror}); run: dvc repro evaluate") from None
    held = json.dumps([(finding["type"], finding["kwargs"]) for finding in findings], sort_keys=True)
    return hashlib.sha256(held.encode()).hexdigest()


def _md5_of(lock: dict[str, Any], name: str) -> str:
    if name not in lock:
        raise ConfigError(f"dvc.lock has no stage {name}; run: dvc repro evaluate")
    return str(lock[name]["outs"][0]["md5"])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def selection(onnx: Path) -> dict[str, str]:
    """Return which history the model learned from: what params.yaml asks for, and the dates and rows that came of it."""
    from pipelines.lib.models.inference import load_model

    params = read_params()
    asked = {"history_start": (params.get("ingest_history") or {}).get("start"), "window_days": params["train"].get("window_days")}
    recorded: dict[str, str | int | None] = dict(asked)
    profile = load_model(onnx).profile
    if profile:
        recorded |= {"trained_from": profile.trained_from, "trained_until": profile.trained_until, "trained_rows": profile.rows}
    return {name: "all" if value is None else str(value) for name, value in recorded.items()}


def selection_of_encoder(onnx: Path) -> dict[str, str]:
    """Return which history the encoder learned from: where params.yaml has it begin, and the first date that it has not seen."""
    from pipelines.lib.encoders.encoder import load_encoder

    start = (read_params().get("ingest_history") or {}).get("start")
    return {"history_start": start or "all", "trained_until": load_encoder(onnx).trained_until}
