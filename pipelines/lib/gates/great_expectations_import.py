"""Great Expectations, imported without the parts that gates do not use: in about half the time. docs/adr/0005 says why."""

import contextlib
import importlib
import logging
import os
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

_LATER = ("altair", "scipy.stats")
"""Imported at the top of Great Expectations, used by three expectations (KL divergence, Kolmogorov-Smirnov): imported when used."""

_OPTIONAL = ("sqlalchemy", "boto3", "botocore", "google.cloud", "psycopg2", "snowflake", "pyspark")
"""Great Expectations works without these; a gate reads Parquet and needs none."""


class _Later(types.ModuleType):
    """Stands for a module until its first attribute is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # the import system asks; that is not a use
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


def import_great_expectations() -> types.ModuleType:
    """Return the package, imported without the heavy modules that no gate uses.

    Should a release not bear that, it is imported as it is.
    """
    if loaded := sys.modules.get("great_expectations"):
        return loaded
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logger = logging.getLogger("great_expectations")  # hundreds of lines; the report tells what there is to tell
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _put_aside():
                return importlib.import_module("great_expectations")
        except Exception:  # of any kind: the plain import below is the one that its authors know
            for module in [module for module in sys.modules if module.partition(".")[0] == "great_expectations"]:
                del sys.modules[module]
            return importlib.import_module("great_expectations")


@contextlib.contextmanager
def _put_aside() -> Iterator[None]:
    """Hide `_OPTIONAL` and postpone `_LATER`, as far as nobody has imported them yet; afterwards both can be imported as ever."""
    postponed = {module: _Later(module) for module in _LATER if module not in sys.modules}
    hidden = [module for module in _OPTIONAL if module not in sys.modules]
    sys.modules.update(postponed)
    for module in hidden:
        sys.modules[module] = None  # type: ignore[assignment]  # which makes the import system answer that there is no such module
    try:
        yield
    finally:
        for module in hidden:
            if sys.modules.get(module, module) is None:
                del sys.modules[module]
        for module, placeholder in postponed.items():
            if sys.modules.get(module) is placeholder:
                del sys.modules[module]
