"""Use cases: the costs of a table that the repository does not know. Each part is a module here with a `main` and `TARGETS`."""

from typing import Any

from benchmarks.use_cases import declarations, ingest, parsing, scheduler, training

PARTS = (ingest, parsing, scheduler, declarations, training)
TARGETS = {key: target for part in PARTS for key, target in part.TARGETS.items()}


def main() -> dict[str, Any]:
    """Return the figures of all parts."""
    return {key: value for part in PARTS for key, value in part.main().items()}
