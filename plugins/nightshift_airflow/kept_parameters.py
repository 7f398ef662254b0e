"""The effective parameters of sound use cases, kept on disk between the processes that parse DAG files.

Airflow parses each DAG file in a process of its own, again and again, and each needs the parameters of all use cases. Without this file, nine processes
parse the same YAML and check the same schedules. As with Python's compiled modules, nothing depends on the file: it can be removed at any time, and
without one that can be read or written the parameters are read from the declarations.

An entry is found by a digest of everything that it follows from: the files of the use case, the defaults, and our own code. So it cannot be outdated.
"""

import functools
import hashlib
import json
import logging
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
    """The content of the file, read once. Entries that are asked for or added stay; `write` drops all others."""

    def __init__(self) -> None:
        self._before = _read()
        self._now: dict[str, Any] = {}

    def get(self, digest: str) -> dict[str, Any] | None:
        """Return the parameters at `digest`; None if they are not kept."""
        found: dict[str, Any] | None = self._before.get(digest)
        if found is not None:
            self._now[digest] = found
        return found

    def add(self, digest: str, params: dict[str, Any]) -> None:
        """Keep `params` if JSON gives them back as they are. A date of YAML, for example, it does not."""
        try:
            same = json.loads(json.dumps(params, allow_nan=False)) == params
        except (TypeError, ValueError):
            return
        if same:
            self._now[digest] = params

    def write(self) -> None:
        """Write the file if it would change."""
        if self._now.keys() == self._before.keys():
            return
        try:
            with replacing(places.home() / _FILE) as temporary:
                temporary.write_text(json.dumps(self._now), encoding="utf-8")
        except (OSError, ConfigError) as error:  # a state that cannot be written is for a run to refuse
            log.info("the parameters of the use cases are not kept: %s", error)


def digest_of(use_case: declared.UseCase) -> str:
    """Return a digest of all that the effective parameters of `use_case` follow from."""
    digest = hashlib.sha256(f"{_code()} {use_case.name} {use_case.default}".encode())
    for path in (use_case.root / declared.DEFAULTS, use_case.declaration, use_case.derived):
        content = _bytes(path)
        digest.update(b"none" if content is None else b"%d " % len(content) + content)
    return digest.hexdigest()


@functools.cache
def _code() -> str:
    """Return a digest of the modules that make parameters of files and judge them."""
    digest = hashlib.sha256()
    for path in sorted(_CODE.glob("*.py")):
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
    return {digest: params for digest, params in kept.items() if isinstance(params, dict)} if isinstance(kept, dict) else {}
