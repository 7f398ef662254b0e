"""Files that connect stages: a frozen dataclass is the contract, JSON what is on disk.

Reading is strict. A field that is missing, unknown or of another type makes the file foreign: nothing is decided from half of a report.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipelines.lib.core.errors import DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""The `__pydantic_config__` of every contract."""


def to_json(contract: "DataclassInstance") -> str:
    """Return `contract` as indented JSON, its fields in the order in which they are declared."""
    return json.dumps(asdict(contract), indent=2, allow_nan=False)


def from_json(kind: type[T], path: Path, stage: str) -> T:
    """Read the `kind` that `stage` has written to `path`.

    Raises `DataError` if the file is missing, torn, incomplete, or of another kind. The error names each wrong field, and the stage to run.
    """
    return read(TypeAdapter(kind), path, kind.__name__.lower(), stage)


def read(adapter: TypeAdapter[T], path: Path, name: str, stage: str) -> T:
    """Read the `name` that `adapter` knows from `path`, which `stage` has written. Raises as `from_json`."""
    try:
        return adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); run {stage} first") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()[:5])
        raise DataError(f"{path} is not a whole {name} ({faults}); run {stage} again") from None
