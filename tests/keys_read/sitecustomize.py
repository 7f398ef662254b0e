"""Note which keys of ``params.yaml`` a stage reads: Python imports this file at its start where the folder is on ``PYTHONPATH``.

Each process of ``python -m <module>`` leaves ``<module>.<pid>.json`` in the directory ``KEYS_READ``: a list of ``section.key``. A section
that is written out whole counts as all of its keys. A section of which only some keys are declared counts as these keys: they are checked when it is
loaded, and perhaps read only if another key says so.
"""

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

from pipelines.lib.core import params

_seen: set[str] = set()
_sections: dict[type, str] = {}
_load = params.load_section


def _read(self: params.Section, name: str) -> Any:
    value = object.__getattribute__(self, name)
    if section := _sections.get(type(self)):
        if name in type(self).model_fields:
            _seen.add(f"{section}.{name}")
        elif name in ("model_dump", "model_dump_json"):
            _seen.update(f"{section}.{key}" for key in type(self).model_fields)
    return value


def _load_section(name: str, model: type[params.S], path: Path = params.PARAMS_FILE) -> params.S:
    _sections.pop(model, None)  # what validation reads is not what the stage reads
    section = _load(name, model, path)
    if model.model_config.get("extra") == "allow":
        _seen.update(f"{name}.{key}" for key in model.model_fields)
    _sections[model] = name
    return section


@atexit.register
def _write() -> None:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec and _sections:
        content = json.dumps({"sections": sorted(_sections.values()), "keys": sorted(_seen)})
        Path(os.environ["KEYS_READ"], f"{spec.name}.{os.getpid()}.json").write_text(content)


params.Section.__getattribute__ = _read  # type: ignore[method-assign]
params.load_section = _load_section
