"""The lock of DVC's shared cache: many runs hold it at once, `pipelines.registry.free_space` holds it alone.

DVC finds an object in the cache and does not store it again. Removed a moment later, it would be missing in the run that has just recorded it.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK = "nightshift.lock"
"""The same name as in `pipelines.lib.storage.object_store`, which is not imported here."""


@contextlib.contextmanager
def cache_in_use(cache: Path) -> Iterator[None]:
    """Have DVC running with the cache at `cache`; wait while space is being freed there."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / LOCK).open("a") as lock:  # the kernel gives it back however this process ends
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
