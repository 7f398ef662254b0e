"""Pages for people: templates of ``pipelines/lib/pages/templates``, filled to self-contained HTML. Everything except charts is escaped."""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **context: Any) -> str:
    """Fill `template`. A name that it uses and `context` lacks is an error. Charts of `pipelines.lib.pages.figures` pass unescaped."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    """Return the environment of all pages, which keeps each template that it has compiled."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"by_column": by_column, "base_score": base_score}
    return environment


def by_column(findings: Iterable[Any]) -> list[tuple[str | None, list[Any]]]:
    """Group the findings of a gate by column, the whole table first, then the columns in the order in which they appear."""
    groups: dict[str | None, list[Any]] = {None: []}
    for finding in findings:
        groups.setdefault(finding.column, []).append(finding)
    return [(column, group) for column, group in groups.items() if group]


def base_score(rate: float | None, score: str) -> float | None:
    """Return the ``log_loss`` in nats or the ``brier`` score of a model that gives every row the observed `rate`. None without a rate."""
    if rate is None:
        return None
    if score == "brier":
        return rate * (1 - rate)
    return -sum(share * math.log(share) for share in (rate, 1 - rate) if share)
