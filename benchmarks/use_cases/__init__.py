"""Use cases: what a table costs that the repository does not know. Each module here measures one part, and has a `main` and `TARGETS`."""

from typing import Any

from benchmarks.use_cases import ingest

PARTS = (ingest,)
TARGETS = {key: target for part in PARTS for key, target in part.TARGETS.items()}


def main() -> dict[str, Any]:
    """Return the figures of all parts."""
    return {key: value for part in PARTS for key, value in part.main().items()}
