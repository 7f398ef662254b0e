"""``params.yaml``: how a stage works. Every section is read into a frozen model of its own, strictly.

A stage declares its section next to its code, as a subclass of `Section`, and loads it with `load_section`. The sections that several
stages share (`dataset`, `features`) are declared in the module of that noun. An unknown key, a missing one or a wrong
type is a `ConfigError` that names the key, since a misspelt threshold that is silently ignored is worse than none.
"""

import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.lib.core import use_cases
from pipelines.lib.core.errors import ConfigError, NightshiftError
from pipelines.lib.core.yaml_text import parse_yaml

PARAMS_FILE = Path("params.yaml")


class Section(BaseModel):
    """Base of every section: immutable, every key is read, and no number is infinite or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    moved: ClassVar[Mapping[str, str]] = {}
    """The keys that an earlier version had, each with the key below which it is now."""


S = TypeVar("S", bound=Section)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that `path` holds. Raises `ConfigError` when the file is missing, torn or not a mapping."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; run the stage from the root of the repository or workspace") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; it must hold a mapping of sections")
    return content


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return the parameters that hold here: those of the file at `path`, or those of the use case that `NIGHTSHIFT_USE_CASE` names.

    The variable is for people in the repository. In a run's workspace the file says whose it is, and another name is a `ConfigError`.
    """
    content = read_yaml(path)
    if path != PARAMS_FILE or (chosen := os.environ.get(use_cases.VARIABLE, "")) == "":
        return content
    if use_cases.SECTION not in content:
        return use_cases.effective(use_cases.find(chosen, Path())).params
    if (found := use_cases.whose(content).name) != chosen:
        raise ConfigError(f"{use_cases.VARIABLE} is {chosen!r}, but {path.absolute()} is of the use case {found!r}; unset the variable")
    return content


def current_use_case(path: Path = PARAMS_FILE) -> use_cases.UseCase:
    """Return the use case that holds here. It is the default one where there is no parameter file, as in a test of a table alone."""
    return use_cases.whose(read_params(path)) if path.exists() else use_cases.whose({})


def naming_the_declaration(text: str) -> str:
    """Return `text` with the file that a person can change: the ``params.yaml`` of a workspace is written from that of the use case."""
    if PARAMS_FILE.name not in text:
        return text
    try:
        use_case = current_use_case()
    except NightshiftError:  # the parameters are what is wrong
        return text
    return text if use_case.default else re.sub(r"(?<![\w/.])params\.yaml", use_case.declaration.as_posix(), text)


def _hint(fault: Any) -> str:
    """Return what YAML has read in place of a text, with what to write; empty for another fault."""
    value = fault["input"]
    if fault["type"] != "string_type" or not isinstance(value, bool | int | float):
        return ""
    words = {True: "yes, on and true", False: "no, off and false"}
    read, quoted = (f"{words[value]} as booleans", ("no", "yes")[value]) if isinstance(value, bool) else (f"{value} as a number", value)
    return f', but YAML reads {read}; write it in quotes, for example "{quoted}"'


def _shown(value: object) -> str:
    """Return `value` as in an error message, cut if it is long. A mapping is not shown: the message says which of its keys is wrong."""
    if isinstance(value, dict):
        return ""
    shown = repr(value)
    return f" (found {shown if len(shown) <= 200 else f'{shown[:200]}…'})"


def parse_section(content: Any, model: type[S], where: str) -> S:
    """Validate `content` as a `model`. Errors name `where`."""

    def refuse(value: object) -> None:
        remedy = "write it as a quoted string" if isinstance(value, dt.date) else "JSON has no such type"
        raise ConfigError(f"{where} holds {value}, a {type(value).__name__}; {remedy}")

    try:
        # As JSON, since strict Python validation refuses YAML's lists where a model has (frozen) tuples.
        return model.model_validate_json(json.dumps(content, default=refuse))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join([where, *map(str, fault['loc'])])}: {fault['msg']}{_hint(fault)}{_shown(fault['input'])}"
            for fault in error.errors()
        )
        raise ConfigError(f"{faults}. Correct it there; the fields are documented at {model.__module__}.{model.__name__}") from None


def load_section(name: str, model: type[S], path: Path = PARAMS_FILE) -> S:
    """Load section `name` of the parameter file at `path`, as a frozen `model`."""
    content = read_params(path)
    if name not in content:
        raise ConfigError(f"{path} has no section {name!r}; it has {', '.join(sorted(content))}")
    return parse_section(content[name], model, f"{path.name}: {name}")


def refuse_dates(params: dict[str, Any]) -> None:
    """Raise `ConfigError` for the unquoted dates in `params`, which YAML makes objects of."""
    if found := [f"{key} ({value})" for key, value in leaves(params) if isinstance(value, dt.date)]:
        raise ConfigError(f"{PARAMS_FILE} holds unquoted dates: {', '.join(found)}; write them as quoted strings")


def leaves(content: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value within `content` with its dotted key: ``train.max_depth``, 8."""
    if isinstance(content, dict | list):
        for name, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, content


def flattened(content: Mapping[str, object], above: str = "") -> dict[str, object]:
    """Return the values within `content` by their dotted keys: ``parameters.max_depth``, 8. A list is one value."""
    found: dict[str, object] = {}
    for name, value in content.items():
        found |= flattened(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found
