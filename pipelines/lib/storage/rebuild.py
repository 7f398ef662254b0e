"""The record of a run, made again from its ref: a clean clone of the ref, its inputs restored, its stages executed again.

Nothing of the result is taken from a cache: only the raw data (and the champion that the run was pinned to) come out of DVC's cache or
remote, every stage behind them runs, by force and without DVC's run cache, and what it makes is not put into the cache.
"""

import configparser
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from pipelines.lib.core import home, kept
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, TransientError
from pipelines.lib.core.params import leaves
from pipelines.lib.core.use_cases import DEFAULTS, FOLDER, PARAMS, whose, write_into

STAGES = ("validate_history", "featurize_history", "train", "export_onnx", "evaluate")
"""Of the training line, what is executed again; `ingest_history` is not, since its source may have been corrected since."""

RAW = "data/raw/history"
CHAMPION = "data/champion/model.onnx.dvc"
_OF_THE_RUN = re.compile(r"run\.yaml|dvc\.lock|dvc\.yaml|data/.*")  # what a ref has besides the commit of its code


@dataclass(frozen=True)
class Input:
    """One input of a model: as it was `recorded` when the version was registered, and as it is `now`, both for people to read."""

    name: str
    recorded: str
    now: str

    @property
    def equal(self) -> bool:
        """Whether it is the same."""
        return self.recorded == self.now


class Metric(TypedDict):
    """A metric as it was recorded and as it was rebuilt; None if there is no such number."""

    name: str
    recorded: float | None
    rebuilt: float | None
    equal: bool


class ComparedInput(TypedDict):
    """An input of the build as it was recorded and as it is now."""

    name: str
    recorded: str
    now: str
    equal: bool


class Digests(TypedDict):
    """The digest of the recorded model, and that of the rebuilt one if there is one."""

    recorded: str
    rebuilt: str | None


class ComparedPredictions(TypedDict):
    """The largest absolute `difference` of a score of the rebuilt model from the recorded one, on `rows` golden rows.

    `reason` is why the bytes may differ. `difference` is None if no scores could be compared; `fault` then says why.
    """

    reason: str
    rows: int
    tolerance: float
    difference: float | None
    fault: str | None
    equal: bool


class Comparison(TypedDict):
    """The comparison of a rebuilt version with the recorded one: ``equal`` decides whether the replay succeeds.

    ``predictions`` is None if the bytes are equal, or must be.
    """

    equal: bool
    sha256: Digests
    predictions: ComparedPredictions | None
    metrics: list[Metric]
    inputs: list[ComparedInput]
    stopped: str | None


def clone(ref: str, target: Path) -> None:
    """Make a clean clone of `ref` at `target`, with access to DVC's cache. Raises `ConfigError` if there is no such ref."""
    source = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", home.REPOSITORY))
    try:
        commit = git(source, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    except subprocess.CalledProcessError:
        raise ConfigError(f"{ref} is not a ref or commit of {source}; fetch refs/runs/* from where the model was trained") from None
    git(source, "clone", "--quiet", "--shared", "--no-checkout", str(source), str(target))
    git(target, "checkout", "--quiet", "--detach", commit)
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read(source / ".dvc" / "config.local", encoding="utf-8")  # remotes, and access to them
    cache = os.environ.get("NIGHTSHIFT_DVC_CACHE", str(source / ".dvc" / "cache"))
    settings.read_dict(
        {name: {"verify": "true"} for name in settings.sections() if "remote" in name}
    )  # what comes from a remote is compared with its digest
    settings.read_dict({"core": {"analytics": "false"}, "cache": {"dir": cache, "type": "reflink,copy"}})
    (target / ".dvc" / "config.local").touch(mode=0o600)
    with (target / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
        settings.write(file)


def restore(path: Path) -> None:
    """Bring the raw data, and the champion where the run was pinned to one, into the clone at `path`; `TransientError` where they are
    nowhere.
    """
    targets = [RAW, *([CHAMPION] if (path / CHAMPION).exists() else [])]
    done = _dvc(path, "checkout", *targets)
    if done.returncode != 0:
        done = _dvc(path, "pull", *targets)
    if done.returncode != 0:
        raise TransientError(
            f"{', '.join(targets)} came neither from DVC's cache nor from a remote: {_end(done)}. Restore the data, then again"
        )


def execute(path: Path, stages: Sequence[str] = STAGES) -> str | None:
    """Run `stages` in the clone at `path`; return why they did not come to their end, None if all is well."""
    done = _dvc(path, "repro", "--force", "--no-run-cache", "--no-commit", "--single-item", *stages)
    if done.returncode == 0:
        return None
    try:
        failure = json.loads((path / "failure.json").read_text(encoding="utf-8"))
        return f"{failure['stage']} failed: {failure['message']}"
    except (OSError, ValueError, KeyError):
        return _end(done)


def inputs(path: Path, tags: Mapping[str, str]) -> list[Input]:
    """Return the inputs of the model whose version carries `tags`, as recorded and as found in the clone at `path`, whose raw data is
    restored.
    """
    lock = _load_yaml(path / "dvc.lock")["stages"]
    ref = git(path, "rev-parse", "HEAD")
    commit = git(path, "rev-parse", "HEAD^") if tags["run_ref"].startswith("refs/") else ref
    strange = [name for name in git(path, "diff", "--name-only", commit, ref).splitlines() if not _OF_THE_RUN.fullmatch(name)]
    if PARAMS in strange and _is_declared(path, commit):
        strange.remove(PARAMS)
    changed = _changed(path, lock)
    data = lock["ingest_history"]["outs"][0]["md5"] if "ingest_history" in lock else "none"
    return [
        Input("code commit", tags["git_commit"], _and(commit, strange)),
        Input("code of the stages", "as in dvc.lock", _and("as in dvc.lock", changed["code"])),
        Input("data revision", tags["data_revision"], _and(data, changed["data"])),
        Input("params", "as in dvc.lock", _and("as in dvc.lock", changed["params"])),
        Input("dvc.lock", tags["dvc_lock_sha256"], sha256_of(path / "dvc.lock")),
        Input("requirements", tags["requirements_sha256"], sha256_of(path / "requirements.txt")),
        Input("environment", "as in requirements.txt", _and("as in requirements.txt", environment(path / "requirements.txt"))),
    ]


def _is_declared(path: Path, commit: str) -> bool:
    """Return whether ``params.yaml`` in the clone at `path` follows from the files with which `commit` declares its use case."""
    present = _load_yaml(path / PARAMS)
    with tempfile.TemporaryDirectory(prefix="nightshift-") as directory:
        try:
            declared = ("params.yaml", "run.yaml", FOLDER, DEFAULTS)
            git(path, "archive", "--format=tar", f"--output={directory}/declared.tar", commit, "--", *declared)
            with tarfile.open(f"{directory}/declared.tar") as archive:
                archive.extractall(directory, filter="data")
            use_case = whose(present)
            write_into(Path(directory), "" if use_case.default else use_case.name)
        except (ConfigError, subprocess.CalledProcessError):
            return False
        return (Path(directory) / PARAMS).read_bytes() == (path / PARAMS).read_bytes()


def environment(requirements: Path) -> list[str]:
    """Return the packages that are installed in another version than the pins of `requirements` say, or not at all."""
    from packaging.requirements import Requirement

    lines = re.findall(r"^[A-Za-z0-9][^\\\n]*==[^\\\n]*", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    installed = {_plain(found.name): found.version for found in importlib.metadata.distributions()}
    return [
        f"{pin.name} {installed.get(_plain(pin.name), 'missing')} instead of {str(pin.specifier).removeprefix('==')}"
        for pin in pins
        if not pin.specifier.contains(installed.get(_plain(pin.name), "0+missing"), prereleases=True)
    ]


def git(path: Path, *arguments: str) -> str:
    """Return what git says in `path`. Raises `subprocess.CalledProcessError`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *arguments], cwd=path, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def _changed(path: Path, lock: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what DVC finds changed against ``dvc.lock``: of the params, of the code, of the raw data."""
    done = _dvc(path, "status", "--json", "ingest_history", *STAGES)
    if done.returncode != 0:
        raise ConfigError(f"DVC cannot read the clone: {_end(done)}")
    found: dict[str, list[str]] = {"params": _changed_params(path, lock), "code": [], "data": []}
    found["data"] += _altered(path)
    for stage, findings in json.loads(done.stdout or "{}").items():
        for finding in findings:
            if finding == "changed command":
                found["code"].append(f"{stage}: another command")
                continue
            for name, change in finding.get("changed deps", {}).items():
                if not isinstance(change, dict) and not name.startswith(
                    "data/"
                ):  # parameters are reported below, data follows from all of it
                    found["code"].append(f"{name} {change}")
            if stage == "ingest_history":
                found["data"] += [f"{name} {change}" for name, change in finding.get("changed outs", {}).items()]
    return {kind: sorted(set(names)) for kind, names in found.items()}


def _altered(path: Path) -> list[str]:
    """Return what came out of DVC's cache into the clone at `path` and is not what the run recorded: DVC itself does not look at it
    again.
    """
    made = [(out.path, out.md5) for out in kept.outputs(path / "dvc.lock") if out.path == Path(RAW)]
    if (path / CHAMPION).exists():
        made += [(Path(CHAMPION).with_suffix(""), str(out["md5"])) for out in _load_yaml(path / CHAMPION)["outs"]]
    return [f"{name} altered (md5 {found})" for out, md5 in made for name, found, _ in kept.altered(path / out, md5)]


def _changed_params(path: Path, lock: Mapping[str, Any]) -> list[str]:
    """Return each parameter of the stages in `lock` whose value in the clone is another one."""
    found = []
    for stage in ("ingest_history", *STAGES):
        for file, recorded in lock.get(stage, {}).get("params", {}).items():
            present = dict(leaves(_load_yaml(path / file)))
            for key, value in leaves(recorded):
                if present.get(key) != value:
                    found.append(f"{key} {present.get(key, 'missing')!r} instead of {value!r}")
    return found


def _load_yaml(path: Path) -> dict[str, Any]:
    """Read YAML 1.2 as DVC does: a small number such as 1e-05 in its lock would be a string to PyYAML."""
    from dvc.utils.serialize import load_yaml

    return dict(load_yaml(str(path)))


def _dvc(path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "NIGHTSHIFT_FAILURE"))}
    variables |= {"PYTHONPATH": str(path), "DVC_SITE_CACHE_DIR": str(path / ".dvc" / "tmp" / "site"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=path, env=variables, capture_output=True, text=True, check=False)


def _end(done: "subprocess.CompletedProcess[str]") -> str:
    return " / ".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-5:])


def _and(finding: str, different: Sequence[str]) -> str:
    shown = [*different[:10], *([f"{len(different) - 10} more"] if len(different) > 10 else [])]
    return f"{finding}, but: {', '.join(shown)}" if different else finding


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
