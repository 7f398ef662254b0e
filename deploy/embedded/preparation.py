"""Prepare a use case before anything starts: the data of a worked example, its derived.yaml, and files without a fault."""

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import read_yaml
from pipelines.lib.core.use_cases import FOLDER, SECTION, UseCase, effective
from pipelines.lib.declarations.config_check import GENERATOR
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive

_FILES = ("parquet", "csv")  # kinds of source that are files


def prepare(use_case: UseCase, progress: Callable[[str], None]) -> None:
    """Make the missing data of a worked example, derive what its declaration leaves open, and check it all. Report each step to `progress`.

    Raises `ConfigError` with the list of faults that the check has found, or for a declaration that cannot be read; `DataError` for its table.
    """
    if lacks_data(use_case):
        progress(f"making the data of {use_case.name} with {FOLDER}/{use_case.name}/{GENERATOR}")
        _generate(use_case)
    if needs_derivation(use_case):
        progress(f"reading the history of {use_case.name}, to derive what {use_case.declaration} leaves open")
        progress(derive(use_case, dt.datetime.now(tz=dt.UTC).date()))
    if faults := check(use_case.root, [use_case.name]):
        raise ConfigError("\n".join([f"{len(faults)} fault{'' if len(faults) == 1 else 's'} in {use_case.name}:", *map(str, faults)]))


def lacks_data(use_case: UseCase) -> bool:
    """Return whether `use_case` is a worked example, with a generator, and a file that its declaration names does not exist."""
    if not (use_case.root / FOLDER / use_case.name / GENERATOR).exists():
        return False
    return any(not _exists(use_case, source) for source in _sources(effective(use_case).params["dataset"]))


def needs_derivation(use_case: UseCase) -> bool:
    """Return whether `use_case` leaves something open, and nobody has derived it yet."""
    if use_case.derived.exists():
        return False
    declared = read_yaml(use_case.declaration)
    return {**effective(use_case).params, SECTION: None} != {**declared, SECTION: None}


def _sources(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the declared sources of a table and of its side tables."""
    tables = [dataset, *(dataset.get("tables") or {}).values()]
    return [table["source"] for table in tables if isinstance(table, dict) and isinstance(table.get("source"), dict)]


def _exists(use_case: UseCase, source: dict[str, Any]) -> bool:
    if source.get("kind") not in _FILES or not isinstance(path := source.get("path"), str) or "://" in path or path.startswith("/"):
        return True  # no file of an example: the check judges it
    return any(use_case.root.glob(path))


def _generate(use_case: UseCase) -> None:
    """Run the generator. Raises `DataError` with the end of what it said."""
    command = [sys.executable, "-m", f"{FOLDER}.{use_case.name}.{GENERATOR.removesuffix('.py')}"]
    done = subprocess.run(command, cwd=use_case.root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise DataError(
            f"python {' '.join(command[1:])} ended with exit code {done.returncode}; correct the generator. Its last lines:\n{end}"
        )
