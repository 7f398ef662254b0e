"""Where the published tables of a use case stand: at the top of the store for the default one, in a folder of its own for each other."""

from pipelines.lib.core.home import published_url
from pipelines.lib.core.params import current_use_case


def scores_url() -> str:
    """Path or URL of the table of scores."""
    return _url("scores")


def evidence_url() -> str:
    """Path or URL of the table of evidence: the past rows that resemble a night's riskiest, and how they ended."""
    return _url("evidence")


def _url(table: str) -> str:
    return "/".join(filter(None, (published_url().rstrip("/"), current_use_case().folder, table)))
