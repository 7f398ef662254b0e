"""A fault of a use case, as the check lists it: the file, the key, the fact with its value, and the remedy."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipelines.lib.core.params import S, Section


@dataclass(frozen=True)
class Found:
    """A fault at the dotted `key` of the parameters. `fact` holds the value."""

    key: str
    fact: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.fact}{'; ' if self.remedy else ''}{self.remedy}"


@dataclass(frozen=True)
class Fault:
    """A `found` fault with the `file` in which to correct it."""

    file: str
    found: Found

    def __str__(self) -> str:
        return f"{self.file}: {self.found}"


def closest(name: str, known: Iterable[str], otherwise: str = "there are") -> str:
    """Return which of the `known` names is meant by `name`, or all of them."""
    offered = sorted(known)
    near = difflib.get_close_matches(name, offered, n=1)
    return f"did you mean {near[0]}?" if near else f"{otherwise} {', '.join(offered) or 'none'}"


def read_section(content: object, model: type[S], key: str) -> tuple[S | None, list[Found]]:
    """Return a section's `content` as a `model`, or all its faults; `key` is the section's own."""
    try:
        # As `parse_section` does, but for an unquoted date, which is a fault of its own.
        return model.model_validate_json(json.dumps(content, default=str)), []
    except ValidationError as error:
        return None, [_found(fault, model, key) for fault in error.errors(include_url=False)]


def _found(fault: Any, model: type[Section], key: str) -> Found:
    where, value = ".".join([key, *map(str, fault["loc"])]), fault["input"]
    if fault["type"] == "missing":
        return Found(where, "is missing", "add it")
    if fault["type"] == "extra_forbidden":
        known = model.model_fields if len(fault["loc"]) == 1 else ()
        return Found(where, "is not a key that is known here", closest(str(fault["loc"][-1]), known) if known else "take it out")
    said = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":  # names its value and its remedy
        return Found(where, said)
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return Found(where, f"is {shown if len(shown) <= 80 else shown[:79] + '…'}. {said}", "correct it")
