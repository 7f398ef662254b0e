"""The published vector index on disk: whole generations, and one pointer that says which of them is current.

    <index root>/<name>/pointer.json             which generation is current, and what led there; only ever replaced as a whole
    <index root>/<name>/writer.lock              who publishes or rolls back holds it
    <index root>/<name>/generations/<id>/        manifest.json, the files that it lists, and `lock`, which readers hold; never altered

An id is ``<partition>-<first 12 digits of the manifest's sha256>``. A reader holds its generation (`read_lock`) from open to close; what is no longer kept
is removed only while nobody holds it. Locks are `flock`: the kernel gives them back, however a process dies.

This module reads; what is written here, `pipelines.lib.vector_index.publication` writes.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import weakref
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipelines.lib.core import home
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.params import Section

MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
LOCK = "lock"
"""The files in the directory of a generation, in addition to those of its build."""

ID = r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{12}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_SHA256 = r"^[0-9a-f]{64}$"


class CollectedError(ModelError):
    """The generation that was asked for was whole once; it has been collected since, as later publications do."""


class UnreadableError(ModelError):
    """The files of a generation cannot be read now: the disk fails, or this process may not. They may be whole."""


class Generation(Section):
    """One generation: its id, the digest of its manifest, and what it was made from."""

    generation: str = Field(pattern=f"^{ID}$")
    manifest_sha256: str = Field(pattern=_SHA256)
    partition: str
    encoder_version: str
    encoder_sha256: str = Field(pattern=_SHA256)


class Switch(Section):
    """That a generation was made current, how, by whom and why; `request` names what asked for it."""

    sequence: int
    action: Literal["publish", "rollback"]
    generation: str
    actor: str
    reason: str
    request: str | None = None


class Pointer(Generation):
    """The current generation. `sequence` counts the switches from 1.

    `line` are the generations before it, oldest first, that `rollback` goes back along: without those that were rolled back from, which are
    in `aside` until the next publication. `history` are the last switches.
    """

    sequence: int = Field(ge=1)
    line: tuple[Generation, ...] = ()
    aside: tuple[Generation, ...] = ()
    history: tuple[Switch, ...] = ()

    @property
    def current(self) -> Generation:
        """The current generation, without what led there."""
        return Generation(**self.model_dump(include=set(Generation.model_fields)))

    @property
    def way_back(self) -> tuple[Generation, ...]:
        """The current generation and those before it, the newest first."""
        return (self.current, *reversed(self.line))

    @property
    def known(self) -> tuple[Generation, ...]:
        """Every generation that can be made current, the newest of the line first: this one, those before it, those aside."""
        return (*self.way_back, *self.aside)

    def before(self, generation: str) -> tuple[Generation, ...]:
        """Return what can be served in the place of `generation`, the newest first: those before it in the line; for one that was rolled
        back from, all of it.
        """
        ids = [one.generation for one in self.way_back]
        return self.way_back[ids.index(generation) + 1 :] if generation in ids else self.way_back


class ReadLock:
    """Keeps the generation in `directory` from being collected for as long as this object lives. `manifest` is what it says of itself.

    Raises `FileNotFoundError` if the generation is not there, or is collected during the call: look at the pointer again.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest: dict[str, Any] = {}
        descriptor = os.open(directory / LOCK, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # a collector holds its lock for a rename only
        if not os.path.samestat(os.fstat(descriptor), (directory / LOCK).stat()):
            raise FileNotFoundError(errno.ENOENT, "another generation took its place", str(directory))


def generation_dir(name: str, root: Path | None) -> Path:
    """Return the directory of index `name`. Raises `ConfigError` for what is not a name: it becomes a path."""
    if not re.fullmatch(_NAME, name, re.ASCII):
        raise ConfigError(
            f"the index is called {name[:40]!r}; a name has letters, digits, '_', '.' and '-' (params.yaml: registry.encoder)"
        )
    return (root or home.index_root()) / name


def current(name: str, root: Path | None = None) -> Pointer | None:
    """Return the pointer of index `name`, or None if nothing is published. Raises `ModelError` if it cannot be read."""
    path = generation_dir(name, root) / "pointer.json"
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        cause = error.strerror if isinstance(error, OSError) else f"{error.error_count()} faults, first: {error.errors()[0]['msg']}"
        raise ModelError(f"{path} is not a pointer ({cause}); see docs/runbooks/stale-index.md, The pointer is broken") from error


def locate(name: str, generation: str, root: Path | None = None) -> Path:
    """Return the directory of `generation`. Raises `ConfigError` for what is not an id: it comes from outside and becomes a path."""
    if not re.fullmatch(ID, generation, re.ASCII):
        raise ConfigError(f"generation is {generation[:40]!r}; it must be an id like '2013-06-01-0123456789ab'")
    return generation_dir(name, root) / "generations" / generation


def verify(directory: Path, manifest_sha256: str, *, digests: bool = True) -> dict[str, Any]:
    """Return the manifest of the generation in `directory`, after its own digest and every file that it lists were checked, and that its `lock` is there.

    Sizes are always compared, contents where `digests` is set. Raises `ModelError` for the first fault, `UnreadableError` where a file is there and cannot
    be read.
    """
    what = f"generation {directory.name}"
    remedy = "it is not served: roll back or rebuild (docs/runbooks/stale-index.md)"
    try:
        text = (directory / MANIFEST).read_bytes()
        found = hashlib.sha256(text).hexdigest()
        if found != manifest_sha256:
            raise ModelError(f"{what}: its manifest has sha256 {found}, published was {manifest_sha256}; {remedy}")
        manifest: dict[str, Any] = json.loads(text)
        (directory / LOCK).stat()  # without it nobody can hold, and so nobody open it
        for file, listed in manifest["files"].items():
            size = (directory / file).stat().st_size
            if size != listed["bytes"]:
                raise ModelError(f"{what}: {file} has {size} bytes, published were {listed['bytes']}; {remedy}")
        for file, listed in manifest["files"].items() if digests else ():
            found = sha256_of(directory / file)
            if found != listed["sha256"]:
                raise ModelError(f"{what}: {file} has sha256 {found}, published was {listed['sha256']}; {remedy}")
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        kind = ModelError if gone else UnreadableError
        raise kind(f"{what}: {error.filename} cannot be read ({error.strerror}); {remedy}") from error
    return manifest


def read_lock(
    name: str,
    generation: str | None = None,
    *,
    manifest_sha256: str | None = None,
    encoder_sha256: str | None = None,
    digests: bool = True,
    root: Path | None = None,
) -> ReadLock:
    """Return the current generation of index `name`, or the one named, held and verified.

    `manifest_sha256` is asked of the pointer where it is not given. Raises `ModelError` if nothing is published, the generation is unknown,
    gone or not whole, or was made with another encoder than that of `encoder_sha256`; `CollectedError` where it is gone since the pointer does not
    know it any more.
    """
    pointer = None
    if generation is None or manifest_sha256 is None:
        pointer = current(name, root)
        if pointer is None:
            raise ModelError(f"no generation of {name} is published; trigger vector_index_rebuild")
        known = next((one for one in pointer.known if one.generation == (generation or pointer.generation)), None)
        if known is None:
            raise ModelError(f"generation {generation} of {name} is unknown or no longer kept; current is {pointer.generation}")
        wanted, sha256 = known.generation, manifest_sha256 or known.manifest_sha256
    else:
        wanted, sha256 = generation, manifest_sha256
    try:
        held = ReadLock(locate(name, wanted, root))
    except OSError as error:
        if pointer and generation is None and current(name, root) != pointer:  # it was collected at this moment
            return read_lock(name, manifest_sha256=manifest_sha256, encoder_sha256=encoder_sha256, digests=digests, root=root)
        pointer = current(name, root)
        if isinstance(error, FileNotFoundError) and pointer and all(one.generation != wanted for one in pointer.known):
            raise CollectedError(
                f"generation {wanted} of {name} was collected since: it is not among those that are kept (publish_index.retained_generations), current is "
                f"{pointer.generation}. A run that is pinned to it cannot be completed with it: start a new one, which takes the current one"
            ) from error
        raise ModelError(f"generation {wanted} of {name} cannot be opened ({error}); roll back or rebuild") from error
    held.manifest = verify(held.directory, sha256, digests=digests)
    if encoder_sha256 not in (None, held.manifest["encoder_sha256"]):
        raise ModelError(
            f"generation {wanted} of {name} was built by the encoder {held.manifest['encoder_version']} of sha256 "
            f"{held.manifest['encoder_sha256']}, asked for was {encoder_sha256}: distances between vectors of two encoders mean nothing. Encode with the "
            "generation's own encoder, or rebuild"
        )
    return held


def usable(name: str, root: Path | None = None, *, digests: bool = True) -> tuple[Pointer, str | None] | None:
    """Return the current generation or else the first one before it that is whole, and the faults of those that are not; None if nothing is published.

    The pointer that is returned names that generation; its `sequence` is that of the switch to the current one. Without `digests` the sizes of the
    files alone are compared, which takes no longer for a large index. Raises `ModelError` if none is whole.
    """
    pointer = current(name, root)
    if pointer is None:
        return None
    faults: list[str] = []
    for candidate in pointer.way_back:
        directory = locate(name, candidate.generation, root)
        try:
            held = ReadLock(directory)
            verify(held.directory, candidate.manifest_sha256, digests=digests)
            return pointer.model_copy(update=candidate.model_dump()), "; ".join(faults) or None
        except OSError as error:
            faults.append(f"generation {candidate.generation} cannot be opened ({error})")
        except ModelError as error:
            faults.append(str(error))
    if current(name, root) != pointer:  # collected while it was looked at
        return usable(name, root, digests=digests)
    raise ModelError(f"no generation of {name} is whole: {'; '.join(faults)}. Rebuild it: trigger vector_index_rebuild with rebuild: full")
