"""The parts that the ``main`` of every stage shares: its arguments are its command line, and a failure leaves ``failure.json`` behind.

DVC turns every failure into exit code 255, so the reason travels in a file:
``{"stage", "error", "message", "retryable"}``, written to the working directory, or to where ``NIGHTSHIFT_FAILURE_FILE`` says: stages
that are running at once in one directory have a file each. In a workspace a stage first compares what it reads with what the stages before it
recorded (see `pipelines.lib.core.kept`).
"""

import argparse
import functools
import inspect
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin

from pipelines.lib.core import kept
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.disk import full_disk
from pipelines.lib.core.errors import CodeError, NightshiftError, mistake_in_code
from pipelines.lib.core.params import naming_the_declaration

FAILURE_FILE = Path("failure.json")
REPORTS = Path("data/reports")

log = logging.getLogger("nightshift")


class Main(Protocol):
    """The entry point of a stage: `argv` as from a command line, by default this process's own; returns the exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def stage(name: str) -> Callable[[Callable[..., None]], Main]:
    """Make a function the ``main(argv) -> int`` of the stage `name`. Its keyword arguments are the command line.

    An argument is required unless it has a default, and of its annotated type: ``Path``, ``str``, ``int``, ``float``, a ``Literal`` (the choices),
    ``bool`` (a flag), or one of these or None. ``Annotated[type, "help"]`` says more about it.
    """

    def decorate(body: Callable[..., None]) -> Main:
        @functools.wraps(body)
        def main(argv: Sequence[str] | None = None) -> int:
            parser = argparse.ArgumentParser(prog=name, description=sys.modules[body.__module__].__doc__)
            for argument, parameter in inspect.signature(body, eval_str=True).parameters.items():
                parser.add_argument(f"--{argument.replace('_', '-')}", dest=argument, **_settings(parameter))
            arguments = vars(parser.parse_args(argv))
            logging.basicConfig(level=logging.WARNING, format=f"{name}: %(message)s", stream=sys.stdout)  # libraries: warnings only
            log.setLevel(logging.INFO)
            _failure_file().unlink(missing_ok=True)
            started = time.perf_counter()
            try:
                if lock := kept.recorded_lock():
                    kept.require_recorded(lock, name, [Path(value) for value in arguments.values() if isinstance(value, str | Path)])
                body(**arguments)
                log.info("took %.2f s", time.perf_counter() - started)
            except Exception as error:
                known = full_disk(error) or mistake_in_code(error) or error
                message = naming_the_declaration(str(known))
                if isinstance(known, CodeError) or not isinstance(known, NightshiftError):
                    traceback.print_exc()  # not foreseen: tell all of it. Unless our code is wrong, a retry shows whether it lasts
                if isinstance(known, NightshiftError):
                    print(f"{name} failed: {message}", file=sys.stderr)
                _record_failure(name, known, message, retryable=getattr(known, "retryable", True))
                return 1
            return 0

        return main

    return decorate


def _settings(parameter: inspect.Parameter) -> dict[str, Any]:
    """Return what `argparse` needs to know of a keyword argument."""
    annotation, settings = parameter.annotation, {}
    if get_origin(annotation) is Annotated:
        annotation, settings["help"] = get_args(annotation)
    if annotation is bool:
        return {**settings, "action": "store_true"}
    if NoneType in get_args(annotation):  # the type or None: an option that may be left out
        annotation = next(one for one in get_args(annotation) if one is not NoneType)
    if get_origin(annotation) is Literal:
        settings["choices"] = get_args(annotation)
    elif annotation in (Path, str, int, float):
        settings["type"] = annotation
    else:
        raise TypeError(f"the argument {parameter.name!r} of a stage has the type {annotation}, which the command line does not read")
    return {**settings, "required": True} if parameter.default is parameter.empty else {**settings, "default": parameter.default}


def write_report(stage_name: str, content: Mapping[str, Any], page: str | None = None) -> None:
    """Write ``data/reports/<stage_name>/report.json``, and the HTML of `page` next to it; the key ``note`` becomes a part of the run's
    note.
    """
    files = {"report.json": json.dumps(content, indent=2), **({} if page is None else {"report.html": page})}
    for name, text in files.items():
        with replacing(REPORTS / stage_name / name) as temporary:
            temporary.write_text(naming_the_declaration(text), encoding="utf-8")


def _failure_file() -> Path:
    return Path(os.environ.get("NIGHTSHIFT_FAILURE_FILE", FAILURE_FILE))


def _record_failure(name: str, error: Exception, message: str, *, retryable: bool) -> None:
    record = {"stage": name, "error": type(error).__name__, "message": message, "retryable": retryable}
    try:
        with replacing(_failure_file()) as temporary:
            temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
    except OSError as unwritten:  # a full disk has no room for this either; the output has the error already
        print(f"{name}: {_failure_file()} was not written ({unwritten})", file=sys.stderr)
