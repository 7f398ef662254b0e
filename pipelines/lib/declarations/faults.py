"""A fault of a use case, as the check lists it: the file, the key, the fact with its value, and the remedy."""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.lib.core.errors import ConfigError, NightshiftError
from pipelines.lib.core.params import S, Section


@dataclass(frozen=True)
class Finding:
    """A fault at the dotted `key` of the parameters. `fact` holds the value. A `warning` is allowed, but probably not meant.

    `derivable`: if the value was derived, a new derivation corrects it.
    """

    key: str
    fact: str
    remedy: str = ""
    warning: bool = False
    derivable: bool = True

    def __str__(self) -> str:
        return f"{self.key}: {self.fact}{'; ' if self.remedy else ''}{self.remedy}"


@dataclass(frozen=True)
class Fault:
    """A `finding` with the `file` in which to correct it."""

    file: str
    finding: Finding

    def __str__(self) -> str:
        return f"{self.file}: {self.finding}"


def with_file(message: str, file: Path) -> str:
    """Return `message` with the path of the use case's `file` where it says ``params.yaml``: a run has one such file, the repository many."""
    return re.sub(r"(?<![\w./-])params\.yaml", lambda _: str(file), message)


_KEYED = re.compile(r"(?P<key>(features|dataset|source)(\.[^\s:]+)+)( in params\.yaml)? (?P<fact>(is|needs|cannot) .*)", re.DOTALL)
"""A message that begins with the key that it is about."""

MISSING = "is missing"
"""The fact of a key that must be there and is not."""


def closest(name: str, known: Iterable[str], otherwise: str = "there are") -> str:
    """Return which of the `known` names is meant by `name`, or all of them."""
    offered = sorted(known)
    near = difflib.get_close_matches(name, offered, n=1)
    return f"did you mean {near[0]}?" if near else f"{otherwise} {', '.join(offered) or 'none'}"


def of_error(error: NightshiftError, key: str) -> Finding:
    """Return `error` as a fault at `key`, or at the key with which its message begins: that of a source is within the section that `key` is of."""
    said = str(error).removeprefix("params.yaml: ")
    named = _KEYED.fullmatch(said) if isinstance(error, ConfigError) else None
    if named is None:
        return Finding(key, said)
    section = f"{key.partition('.source')[0]}." if named["key"].startswith("source.") else ""
    return Finding(f"{section}{named['key']}", named["fact"])


def read_section(content: object, model: type[S], key: str) -> tuple[S | None, list[Finding]]:
    """Return a section's `content` as a `model`, or all its faults; `key` is the section's own."""
    try:
        # As `parse_section` does, but for an unquoted date, which is a fault of its own.
        return model.model_validate_json(json.dumps(with_text_keys(content), default=str)), []
    except ValidationError as error:
        faults = error.errors(include_url=False)
        within = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
        return None, [
            _finding_of(fault, model, key)
            for fault in faults
            if not (fault["type"] == "too_short" and fault["loc"] in within)  # its items are refused one by one
        ]


def with_text_keys(content: object) -> object:
    """Return `content` with its keys as text: YAML makes dates of some, which JSON does not know as keys."""
    if isinstance(content, dict):
        return {key if isinstance(key, str) else str(key): with_text_keys(value) for key, value in content.items()}
    return [with_text_keys(value) for value in content] if isinstance(content, list) else content


def as_written(value: object) -> str:
    """Return how a person most likely wrote `value`: YAML makes a boolean of no and yes, and nothing of null."""
    if value is None:
        return "null"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _finding_of(fault: Any, model: type[Section], key: str) -> Finding:
    where, value = ".".join([key, *map(str, fault["loc"])]), fault["input"]
    if fault["type"] == "missing":
        return Finding(where, MISSING, "add it")
    if fault["type"] == "extra_forbidden":
        if len(fault["loc"]) == 1 and (now := model.moved.get(str(fault["loc"][0]))):
            return Finding(
                where, f"has moved to {key}.{now}", f"write {key}: {{{now}: {{{fault['loc'][0]}: {json.dumps(value, default=str)}}}}}"
            )
        fields = model.model_fields if len(fault["loc"]) == 1 else ()
        return Finding(where, "is not a key that is known here", closest(str(fault["loc"][-1]), fields) if fields else "take it out")
    said = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":  # names its value and its remedy
        return _at_its_key(said, model, where) if not fault["loc"] else Finding(where, said)
    if fault["type"] in ("too_short", "string_too_short"):
        return Finding(where, "is empty", "write one at least, or take it out" if fault["type"] == "too_short" else "write a name")
    text = json.dumps(value, ensure_ascii=False, default=str)
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    if fault["type"] == "literal_error" and (known := re.findall("'([^']+)'", str(fault["ctx"]["expected"]))):
        return Finding(where, f"is {shown}", closest(str(value), known, "write one of"))
    return Finding(where, f"is {shown}. {_wanted(fault) or said}", _remedy(fault))


def _at_its_key(said: str, model: type[Section], key: str) -> Finding:
    """Return the fault of a whole section at the key with which its message begins, if it does."""
    begins = re.fullmatch(r"(?P<field>[a-z_]+)(?P<below>(\.\w+)*)(?P<colon>:?) (?P<rest>.*)", said, re.DOTALL)
    if begins is None or begins["field"] not in model.model_fields:
        return Finding(key, said)
    if begins["field"] in ("columns", "tables") and not (begins["colon"] or begins["rest"].startswith("is ")):
        return Finding(key, said)  # the name of a column may hold spaces
    return Finding(f"{key}.{begins['field']}{begins['below']}", begins["rest"])


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number that is finite",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
"""The kind that a value must have, by the first word of the type of its fault."""

_EXAMPLES = {"int": "3", "float": "0.5", "bool": "true", "string": "…"}

_LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def _wanted(fault: Any) -> str | None:
    """Return what the value must be, in words; None for a kind of fault that there are no words for."""
    if limit := _LIMITS.get(fault["type"]):
        return f"It must be {limit[1]} {fault['ctx'][limit[0]]:g}"
    kind = _KINDS.get(fault["type"].partition("_")[0])
    return f"It must be {kind}" if kind else None


def _remedy(fault: Any) -> str:
    """Return what to write in place of a value of another kind, if it can be seen."""
    key, value = fault["loc"][-1] if fault["loc"] else "it", fault["input"]
    if fault["type"] in ("tuple_type", "list_type") and isinstance(value, str | bool | int | float):
        item = value if isinstance(value, str) else f'"{as_written(value)}"'
        return f"write {key}: [{item}]"
    if fault["type"] == "string_type" and isinstance(value, bool | int | float):
        read = "a boolean" if isinstance(value, bool) else "a number"
        return f'YAML reads it as {read}, so write "{as_written(value)}"'
    if fault["type"] in ("dict_type", "model_type"):
        first = value[0] if isinstance(value, list) and value and isinstance(value[0], str) else "name"
        return f"write a mapping, such as {key}: {{{first}: …}}"
    if example := _EXAMPLES.get(fault["type"].partition("_")[0]):
        return f"write one, such as {key}: {example}" if example != "…" else f'write {key}: "…"'
    return "correct it"
