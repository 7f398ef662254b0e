"""Show the effective parameters of a use case, and where each of them comes from."""

from collections.abc import Iterator
from typing import Any

import yaml

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import SECTION, UseCase, effective

_WIDEST = 110
"""Column of the comments, unless all lines are shorter; a longer line pushes its own comment out."""


def show(use_case: UseCase, section: str = "") -> str:
    """Return the effective parameters as YAML; the comment on each value says where it comes from. Raises `ConfigError`."""
    found = effective(use_case)
    params = {key: value for key, value in found.params.items() if key != SECTION}
    if section:
        if section not in params:
            raise ConfigError(f"there is no section {section!r}; there are {', '.join(sorted(params))}")
        params = {section: params[section]}
    lines = list(_lines(params, found.origin, "", 0))
    width = min(_WIDEST, max((len(line) for line, origin in lines if origin), default=0))
    return "".join(f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n" for line, origin in lines)


def _lines(content: dict[str, Any], origin: dict[str, str], above: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield each line of `content` with the origin of its value, which is empty for a line that opens a mapping."""
    for key, value in content.items():
        dotted, head = f"{above}{key}", f"{'  ' * depth}{_plain(key)}:"
        if isinstance(value, dict) and value:
            yield head, ""
            yield from _lines(value, origin, f"{dotted}.", depth + 1)
        else:
            yield f"{head} {_plain(value)}", origin.get(dotted, "default" if depth == 0 else "declared")


def _plain(value: object) -> str:
    """Return `value` as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
