"""The effective parameters of use cases, or why they are refused, kept on disk between the processes that parse DAG files.

Airflow parses each DAG file in a process of its own, again and again, and each needs the parameters of all use cases. Without this file, nine processes
parse the same YAML and check the same schedules; with one broken use case alone, each of them would load all that this takes. As with Python's compiled modules, nothing depends on the file: it can be removed at any time, and
without one that can be read or written the parameters are read from the declarations.

An entry is found by a digest of everything that it follows from: the files of the use case, the defaults, and our own code. So it cannot be outdated.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightshift_airflow import places
from pipelines.lib.core import use_cases as declared
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError

log = logging.getLogger(__name__)

_FILE = "parameters.json"
_CODE = Path(declared.__file__).parent


class KeptParameters:
    """The content of the file, read once. Entries that are asked for or made stay; `write` drops all others."""

    def __init__(self) -> None:
        self._before = _read()
        self._now: dict[str, dict[str, Any]] = {}

    def of(self, use_case: declared.UseCase, make: Callable[[declared.UseCase], dict[str, Any]]) -> dict[str, Any]:
        """Return the parameters of `use_case`: those that are kept, or else those that `make` returns.

        Raises `ConfigError` if `make` does, and with the same words as long as nothing of the use case changes.
        """
        digest = digest_of(use_case)
        entry = self._before.get(digest)
        if entry is None:
            entry = _made(use_case, make)
            if not _survives_json(entry):
                return _params(entry)
        self._now[digest] = entry
        return _params(entry)

    def write(self) -> None:
        """Write the file if it would change."""
        if self._now.keys() == self._before.keys():
            return
        try:
            with replacing(places.home() / _FILE) as temporary:
                temporary.write_text(json.dumps(self._now), encoding="utf-8")
        except (OSError, ConfigError) as error:  # a state that cannot be written is for a run to refuse
            log.info("the parameters of the use cases are not kept: %s", error)


def _made(use_case: declared.UseCase, make: Callable[[declared.UseCase], dict[str, Any]]) -> dict[str, Any]:
    """Return what is kept of a use case. Raises `ConfigError` for a file that could not be read, since it may be read the next time."""
    try:
        return {"params": make(use_case)}
    except ConfigError as error:
        if isinstance(error.__context__, OSError):
            raise
        return {"refusal": str(error)}


def _params(entry: dict[str, Any]) -> dict[str, Any]:
    if "refusal" in entry:
        raise ConfigError(entry["refusal"])
    params: dict[str, Any] = entry["params"]
    return params


def _survives_json(entry: dict[str, Any]) -> bool:
    """Return whether JSON gives `entry` back as it is. A date of YAML, for example, it does not."""
    try:
        return bool(json.loads(json.dumps(entry, allow_nan=False)) == entry)
    except (TypeError, ValueError):
        return False


def digest_of(use_case: declared.UseCase) -> str:
    """Return a digest of all that the effective parameters of `use_case` follow from."""
    digest = hashlib.sha256(f"{_code()} {use_case.name} {use_case.default}".encode())
    for path in (use_case.root / declared.DEFAULTS, use_case.declaration, use_case.derived):
        content = _bytes(path)
        digest.update(b"none" if content is None else b"%d " % len(content) + content)
    return digest.hexdigest()


@functools.cache
def _code() -> str:
    """Return a digest of the modules that make parameters of files, judge them and keep them."""
    digest = hashlib.sha256()
    for path in (*sorted(_CODE.glob("*.py")), Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read() -> dict[str, Any]:
    try:
        kept = json.loads((places.home() / _FILE).read_bytes())
    except (OSError, ValueError, ConfigError):
        return {}
    return {digest: entry for digest, entry in kept.items() if _is_entry(entry)} if isinstance(kept, dict) else {}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and (isinstance(entry.get("params"), dict) or isinstance(entry.get("refusal"), str))
