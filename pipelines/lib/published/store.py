"""Where the published tables of a use case stand: at the top of the store for the default one, in a folder of its own for each other."""

from collections.abc import Iterable

from pipelines.lib.core.home import published_url
from pipelines.lib.core.params import current_use_case
from pipelines.lib.core.use_cases import FOLDER


def scores_url() -> str:
    """Return the path or URL of the table of scores."""
    return _url("scores")


def evidence_url() -> str:
    """Return the path or URL of the table of evidence: the past rows that resemble a night's riskiest, and their outcomes."""
    return _url("evidence")


def empty_nights_url() -> str:
    """Return the path or URL of the table of the nights that had no rows."""
    return _url("empty_nights")


def tables_of(names: Iterable[str]) -> list[str]:
    """Return the addresses of all published tables of the use cases `names`; an empty name is that of the default one."""
    folders = sorted({f"{FOLDER}/{name}" if name else "" for name in names})
    return [_below(folder, table) for folder in folders for table in ("scores", "evidence", "empty_nights")]


def _url(table: str) -> str:
    return _below(current_use_case().folder, table)


def _below(folder: str, table: str) -> str:
    return "/".join(filter(None, (published_url().rstrip("/"), folder, table)))
