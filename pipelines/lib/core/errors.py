"""Every error that Nightshift raises on purpose.

    NightshiftError
    ├── ConfigError             params.yaml, run.yaml or a command line is wrong         no retry
    ├── DataError               the data is wrong: torn, missing columns, bad types      no retry
    │   └── GateFailed          a gate found bad rows and stopped the run                no retry
    ├── ModelError              a model's file is missing, altered or does not fit       no retry
    ├── LedgerConflict          somebody else promoted first                             no retry
    ├── CodeError               a mistake in the code, such as a TypeError               no retry
    └── TransientError          a database, registry or disk did not answer; try again   retry

Each message states the fact, the value that was found and the remedy. A stage that fails writes the error to
``failure.json`` (see `pipelines.lib.core.stage`), from which the Airflow operator decides whether to retry: what is not
in this tree (a lost connection inside a library, a killed process, memory) is retried. Nobody raises a `CodeError`: `mistake_in_code` finds one.
"""

import traceback
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]

_MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    ValueError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RecursionError,
)
"""Errors that Python raises for code that is wrong. Not OSError, MemoryError, RuntimeError or ImportError: the machine, or its load, may be the cause."""


class NightshiftError(Exception):
    """The root; `retryable` says whether the same run may succeed if it is tried again unchanged."""

    retryable = False


class ConfigError(NightshiftError):
    """A parameter, a run file or an argument is wrong."""


class DataError(NightshiftError):
    """The source data cannot be used as it is."""


class GateFailed(DataError):
    """A gate stopped the run."""


class ModelError(NightshiftError):
    """A model file is missing, differs from its pinned digest, or does not fit the features."""


class LedgerConflict(NightshiftError):
    """The ledger has moved on since the caller looked."""


class CodeError(NightshiftError):
    """The code did what Python refuses: the same run fails in the same place each time."""


class TransientError(NightshiftError):
    """Something outside did not answer."""

    retryable = True


def mistake_in_code(error: BaseException) -> CodeError | None:
    """Return what to raise instead of `error` if our own code caused it and no retry fixes it; None otherwise.

    The innermost frame decides, apart from frames of the standard library. An error from inside another package is not a mistake of ours: a
    server may have answered badly. Nor is an error while another one was handled, such as a lost connection, or one of a class that another package has
    derived from Python's: `ArrowInvalid` may come from a file that was read while it was written.
    """
    one: BaseException | None = error
    while one:
        if not isinstance(one, _MISTAKES) or type(one).__module__ != "builtins":
            return None
        one = one.__cause__ or one.__context__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if {"site-packages", "dist-packages"} & set(file.parts):
            return None
        if file.is_relative_to(_ROOT):
            place = f"{file.relative_to(_ROOT)}, line {frame.lineno}"
            return CodeError(
                f"{type(error).__name__}: {error} ({place}). This is a mistake in the code, which no retry fixes: "
                "the log of the task has the traceback; correct the code, then trigger the run again"
            )
    return None
