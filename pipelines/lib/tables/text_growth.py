"""A bound on how long a text an expression of ``params.yaml`` can make of the texts of a row.

Some functions multiply the length of their argument: nested, ``hex(hex(…))`` doubles it at each step. A replacement that is itself a column
squares it. So the factors along an expression are multiplied before it runs, and a replacement must be written out.
"""

import math
from collections.abc import Iterator
from typing import Any

MOST_GROWTH = 1_000
"""How many times as long as the texts of a row a result may be: seven umlauts written as two letters each have 128."""

_FACTORS = {"bin": 8, "hex": 2, "regexp_escape": 2, "url_encode": 3}
"""How many times as long as its argument the result of a function can be."""


class UnboundedReplacement(Exception):
    """A replacement is not a text that is written out in the expression."""


def growth(node: dict[str, Any]) -> int:
    """Return how many times as long as the longest text of a row the result of `node`, of DuckDB's syntax tree, can be.

    Raises `UnboundedReplacement`.
    """
    children = list(_children(node))
    function = str(node.get("function_name")) if node["class"] == "FUNCTION" else ""
    if function in ("replace", "regexp_replace") and len(children) >= 3:
        return growth(children[0]) * _of_replacement(function, children)
    total = sum(map(growth, children)) if children else 1
    if function == "concat_ws":  # the separator comes between all others
        return total * len(children)
    return total * _FACTORS.get(function, 1)


def _of_replacement(function: str, children: list[dict[str, Any]]) -> int:
    searched, replacement = (_constant(child) for child in children[1:3])
    if replacement is None:
        raise UnboundedReplacement(function)
    if function == "regexp_replace":  # it may match between any two letters, and \0 is the whole match
        return len(replacement) + 1
    return max(1, math.ceil(len(replacement) / max(1, len(searched or ""))))


def _constant(node: dict[str, Any]) -> str | None:
    """Return the text that `node` is, if it is written out."""
    literal = node.get("literal") if node["class"] == "CONSTANT" else None
    return str(literal["text"]) if literal and literal["kind"] == "STRING" else None


def _children(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes right below the node `part`, in order."""
    for value in part.values() if isinstance(part, dict) else part:
        if isinstance(value, dict) and isinstance(value.get("class"), str):
            yield value
        elif isinstance(value, dict | list):
            yield from _children(value)
