"""The published vector index on disk: whole generations, and one pointer that says which of them is current.

    <index root>/<name>/pointer.json             which generation is current, and what led there; only ever replaced as a whole
    <index root>/<name>/writer.lock              who publishes or rolls back holds it
    <index root>/<name>/generations/<id>/        manifest.json, the files that it lists, and `lock`, which readers hold; never altered

An id is ``<partition>-<first 12 digits of the manifest's sha256>``. A generation is written beside, flushed to disk and renamed; then the pointer is
replaced. Who dies on the way leaves the old pointer and at most debris, which the next writer removes. Locks are `flock`: the kernel gives them back,
however a process dies.

A reader holds its generation (`hold`) from open to close. What is no longer kept is removed only while nobody holds it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipelines.lib import home
from pipelines.lib.atomic import replacing
from pipelines.lib.digest import sha256_of
from pipelines.lib.errors import ConfigError, DataError, LedgerConflict, ModelError, TransientError
from pipelines.lib.params import Section
from pipelines.lib.partition import parse_partition

log = logging.getLogger("nightshift")

BUILT = "built.json"
MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
PREVIOUS = "previous"

_LOCK = "lock"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_ID = r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{12}"
_SHA256 = r"^[0-9a-f]{64}$"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEMBERED = 100
"""Switches that the pointer tells of: a request is known to be fulfilled for as long."""


class CollectedError(ModelError):
    """The generation that was asked for was whole once; it has been collected since, as later publications do."""


class Generation(Section):
    """One generation: its id, the digest of its manifest, and what it was made from."""

    generation: str = Field(pattern=f"^{_ID}$")
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

    `line` are the generations before it, oldest first, that `rollback` goes back along: without those that were rolled back from, which stand
    in `aside` until the next publication. `history` are the last switches.
    """

    sequence: int = Field(ge=1)
    line: tuple[Generation, ...] = ()
    aside: tuple[Generation, ...] = ()
    history: tuple[Switch, ...] = ()

    @property
    def known(self) -> tuple[Generation, ...]:
        """Every generation that can be made current, the newest of the line first: this one, those before it, those aside."""
        return (_generation(self), *reversed(self.line), *self.aside)

    def before(self, generation: str) -> tuple[Generation, ...]:
        """What can be served in the place of `generation`, the newest first: those before it in the line; for one that was rolled back from, all of it."""
        line = (_generation(self), *reversed(self.line))
        ids = [one.generation for one in line]
        return line[ids.index(generation) + 1 :] if generation in ids else line


class Hold:
    """Keeps the generation in `directory` from being collected for as long as this object lives. `manifest` is what it says of itself.

    Raises `FileNotFoundError` where the generation is not there, or is collected at this very moment: look at the pointer again.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest: dict[str, Any] = {}
        descriptor = os.open(directory / _LOCK, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # a collector holds its lock for a rename only
        if not os.path.samestat(os.fstat(descriptor), (directory / _LOCK).stat()):
            raise FileNotFoundError(errno.ENOENT, "another generation took its place", str(directory))


def current(name: str, root: Path | None = None) -> Pointer | None:
    """The pointer of index `name`, or None where nothing is published. Raises `ModelError` where it cannot be read."""
    path = _place(name, root) / "pointer.json"
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        told = error.strerror if isinstance(error, OSError) else f"{error.error_count()} faults, first: {error.errors()[0]['msg']}"
        raise ModelError(f"{path} is no pointer ({told}); see docs/runbooks/stale-index.md, The pointer is broken") from error


def locate(name: str, generation: str, root: Path | None = None) -> Path:
    """The directory of `generation`. Raises `ConfigError` for what is no id: it comes from outside and becomes a path."""
    if not re.fullmatch(_ID, generation, re.ASCII):
        raise ConfigError(f"generation is {generation[:40]!r}; it must be an id like '2013-06-01-0123456789ab'")
    return _place(name, root) / "generations" / generation


def verify(directory: Path, manifest_sha256: str, *, digests: bool = True) -> dict[str, Any]:
    """The manifest of the generation in `directory`, after its own digest and every file that it lists were checked, and that its `lock` is there.

    Sizes are always compared, contents where `digests` is set. Raises `ModelError` for the first fault.
    """
    what = f"generation {directory.name}"
    remedy = "it is not served: roll back or rebuild (docs/runbooks/stale-index.md)"
    try:
        text = (directory / MANIFEST).read_bytes()
        found = hashlib.sha256(text).hexdigest()
        if found != manifest_sha256:
            raise ModelError(f"{what}: its manifest has sha256 {found}, published was {manifest_sha256}; {remedy}")
        manifest: dict[str, Any] = json.loads(text)
        (directory / _LOCK).stat()  # without it nobody can hold, and so nobody open it
        for file, listed in manifest["files"].items():
            size = (directory / file).stat().st_size
            if size != listed["bytes"]:
                raise ModelError(f"{what}: {file} has {size} bytes, published were {listed['bytes']}; {remedy}")
        for file, listed in manifest["files"].items() if digests else ():
            found = sha256_of(directory / file)
            if found != listed["sha256"]:
                raise ModelError(f"{what}: {file} has sha256 {found}, published was {listed['sha256']}; {remedy}")
    except OSError as error:
        raise ModelError(f"{what}: {error.filename} cannot be read ({error.strerror}); {remedy}") from error
    return manifest


def hold(
    name: str,
    generation: str | None = None,
    *,
    manifest_sha256: str | None = None,
    encoder_sha256: str | None = None,
    digests: bool = True,
    root: Path | None = None,
) -> Hold:
    """The current generation of index `name`, or the one named, held and verified.

    `manifest_sha256` is asked of the pointer where it is not given. Raises `ModelError` where nothing is published, the generation is unknown,
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
        held = Hold(locate(name, wanted, root))
    except OSError as error:
        if pointer and generation is None and current(name, root) != pointer:  # it was collected at this moment
            return hold(name, manifest_sha256=manifest_sha256, encoder_sha256=encoder_sha256, digests=digests, root=root)
        pointer = current(name, root)
        if isinstance(error, FileNotFoundError) and pointer and all(one.generation != wanted for one in pointer.known):
            raise CollectedError(
                f"generation {wanted} of {name} was collected since: it is not among those that are kept (publish_index.retain), current is "
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
    """The current generation or else the first one before it that is whole, and the faults of those that are not; None where nothing is published.

    The pointer that is returned names that generation; its `sequence` is that of the switch to the current one. Without `digests` the sizes of the
    files alone are compared, which takes no longer for a large index. Raises `ModelError` where none is whole.
    """
    pointer = current(name, root)
    if pointer is None:
        return None
    faults: list[str] = []
    for candidate in (_generation(pointer), *reversed(pointer.line)):
        directory = locate(name, candidate.generation, root)
        try:
            held = Hold(directory)
            verify(held.directory, candidate.manifest_sha256, digests=digests)
            return pointer.model_copy(update=candidate.model_dump()), "; ".join(faults) or None
        except OSError as error:
            faults.append(f"generation {candidate.generation} cannot be opened ({error})")
        except ModelError as error:
            faults.append(str(error))
    if current(name, root) != pointer:  # collected while it was looked at
        return usable(name, root, digests=digests)
    raise ModelError(f"no generation of {name} is whole: {'; '.join(faults)}. Rebuild it: trigger vector_index_rebuild with rebuild: full")


def built_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Name -> ``{"sha256", "bytes"}`` of every file in `directory`, in the order of the names; what a verdict on these very bytes names."""
    return {path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(directory.iterdir())}


def described(built: Path, encoder: Path, manifest: Mapping[str, Any]) -> tuple[Generation, dict[str, Any]]:
    """The generation that `publish` makes of the same arguments, and all that its manifest says. Raises what `publish` raises for what does not fit."""
    content = _manifest(built, encoder, manifest)
    sha256 = hashlib.sha256(_text(content)).hexdigest()
    made = {key: content[key] for key in ("partition", "encoder_version", "encoder_sha256")}
    return Generation(generation=f"{content['partition']}-{sha256[:12]}", manifest_sha256=sha256, **made), content


def publish(
    name: str,
    built: Path,
    encoder: Path,
    manifest: Mapping[str, Any],
    *,
    expected_sequence: int,
    retain: int,
    actor: str = "publish_index",
    reason: str = "",
    root: Path | None = None,
) -> Pointer:
    """Make the build in `built` and its `encoder` a generation of index `name`, and make it current; `retain` generations are kept, it included.

    What is not whole any more is not kept: nobody could go back to it.

    The manifest is the content of ``built.json``, what `manifest` says (at least partition, encoder_version, encoder_sha256) and the digests of all
    files. `expected_sequence` is that of the pointer which the author has seen (0: no generation that could be used). What is in the line already is
    not published again.

    Raises `LedgerConflict` where somebody switched since, `ModelError` where encoder and build do not belong together, `TransientError`
    where the disk is full or fails: the pointer is then as it was.
    """
    new, content = described(built, encoder, manifest)
    text, sha256 = _text(content), new.manifest_sha256
    place, target = _place(name, root), locate(name, new.generation, root)
    with _disk_told(place, sum(file["bytes"] for file in content["files"].values())), _writing(place):
        pointer = current(name, root)
        again = pointer if pointer and new in (_generation(pointer), *pointer.line) else None
        if not again:
            _require_expected(name, pointer, expected_sequence, new, root)
        _collect(place, pointer, debris_alone=pointer is None)  # whose pointer was lost may be all that there is, until the new one stands
        if again and _whole(target, sha256):
            log.info("generation %s was published before; nothing is changed", new.generation)
            return again
        with replacing(target) as temporary:
            temporary.mkdir()
            for file in content["files"]:
                shutil.copyfile(encoder if file == ENCODER else built / file, temporary / file)
            (temporary / MANIFEST).write_bytes(text)
            (temporary / _LOCK).touch()
            verify(temporary, sha256)
        if again:
            log.warning("generation %s was broken on disk; it was written anew", new.generation)
            return again
        before = (*pointer.line, _generation(pointer)) if pointer and retain > 1 else ()
        line = tuple(one for one in before if _whole(locate(name, one.generation, root), one.manifest_sha256))[1 - retain :]
        switched = _switch(place, pointer, new, line, (), action="publish", actor=actor, reason=reason)
        _collect(place, switched)
    return switched


def rollback(name: str, to: str, actor: str, reason: str, *, request: str | None = None, root: Path | None = None) -> Pointer:
    """Make generation `to` of index `name` current (``previous``: the newest one before it that is whole), after its files were verified.

    Also what was rolled back from can be named, until the next publication. The same `request` is fulfilled once. Returns the pointer. Raises
    `ModelError` for a generation that is unknown or broken, `ConfigError` for what is no id or current already; nothing is changed then.
    """
    if to != PREVIOUS:
        locate(name, to, root)
    place = _place(name, root)
    pointer = current(name, root)
    if pointer is None:
        raise ModelError(f"no generation of {name} is published, so there is nothing to roll back; trigger vector_index_rebuild")
    with _disk_told(place), _writing(place):
        pointer = current(name, root) or pointer
        if request and any(switch.request == request for switch in pointer.history):
            log.info("%s was fulfilled before; generation %s is current", request, pointer.generation)
            return pointer
        target = _target(name, pointer, to, root)
        if target in pointer.line:
            place_in_line = pointer.line.index(target)
            left = (*pointer.line[place_in_line + 1 :], _generation(pointer))
            line, aside = pointer.line[:place_in_line], (*pointer.aside, *left)
        else:
            line, aside = (*pointer.line, _generation(pointer)), tuple(one for one in pointer.aside if one != target)
        return _switch(place, pointer, target, line, aside, action="rollback", actor=actor, reason=reason, request=request)


def _place(name: str, root: Path | None) -> Path:
    if not re.fullmatch(_NAME, name, re.ASCII):
        raise ConfigError(
            f"the index is called {name[:40]!r}; a name has letters, digits, '_', '.' and '-' (params.yaml: registry.encoder)"
        )
    return (root or home.index_root()) / name


def _generation(of: Generation) -> Generation:
    return Generation(**{key: getattr(of, key) for key in Generation.model_fields})


def _text(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2, sort_keys=True).encode()


def _manifest(built: Path, encoder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """All that the manifest says, checked as far as it can be without FAISS."""
    try:
        told: dict[str, Any] = json.loads((built / BUILT).read_bytes())
        files = {**(manifest.get("files") or built_files(built)), ENCODER: {"sha256": sha256_of(encoder), "bytes": encoder.stat().st_size}}
    except (OSError, ValueError) as error:
        raise DataError(f"{built} is no whole build ({type(error).__name__}: {error}); run build_index again") from None
    content = {**told, **manifest, "files": files}
    parse_partition(content.get("partition"))
    made_by = {"build": told.get("encoder_sha256"), "manifest": content["encoder_sha256"], "file": files[ENCODER]["sha256"]}
    if len(set(made_by.values())) > 1:
        differing = ", ".join(f"{where} {sha256}" for where, sha256 in made_by.items())
        raise ModelError(
            f"the index was built by another encoder than the one to be published with it ({differing}); rebuild it in one run"
        )
    return content


def _require_expected(name: str, pointer: Pointer | None, expected: int, new: Generation, root: Path | None) -> None:
    """Raise `LedgerConflict` unless the pointer is the one that the author of `new` has seen."""
    if pointer is None or pointer.sequence == expected:
        if pointer is None and expected:
            raise LedgerConflict(f"{name} has no pointer, but the run has seen switch {expected}; who removed it? Start a run anew")
        return
    if expected == 0:
        try:
            usable(name, root)
        except ModelError:  # nothing that is whole: so the author has seen none either
            return
    last = pointer.history[-1]
    told = "was rolled back from" if new in pointer.aside else "was not published"
    raise LedgerConflict(
        f"generation {new.generation} of {name} {told}: it was built when switch {expected} was the last one, and since then {last.actor} has made "
        f"{last.generation} current (switch {pointer.sequence}, {last.action}{f': {last.reason}' if last.reason else ''}). Start a rebuild anew"
    )


def _target(name: str, pointer: Pointer, to: str, root: Path | None) -> Generation:
    """The generation that is meant by `to`, whose files were verified."""
    if to == pointer.generation:
        raise ConfigError(
            f"generation {to} is current already, since switch {pointer.sequence} by {pointer.history[-1].actor}; nothing was changed"
        )
    candidates = [one for one in (reversed(pointer.line) if to == PREVIOUS else pointer.known) if to in (PREVIOUS, one.generation)]
    faults: list[str] = []
    for one in candidates:
        try:
            verify(locate(name, one.generation, root), one.manifest_sha256)
        except ModelError as error:
            faults.append(str(error))
            log.warning("passed over: %s", error)
            continue
        return one
    if faults and to != PREVIOUS:
        raise ModelError(faults[0])
    others = ", ".join(one.generation for one in (pointer.aside if to == PREVIOUS else pointer.known[1:]))
    if to != PREVIOUS:
        raise ModelError(f"generation {to} of {name} is unknown or no longer kept; these can be made current: {others or 'none'}")
    stands = f"that is whole stands before {pointer.generation} ({'; '.join(faults)})" if faults else f"stands before {pointer.generation}"
    raise ModelError(f"no generation of {name} {stands}; {f'name one to roll forward to: {others}' if others else 'rebuild instead'}")


def _switch(
    place: Path,
    before: Pointer | None,
    to: Generation,
    line: tuple[Generation, ...],
    aside: tuple[Generation, ...],
    *,
    action: Literal["publish", "rollback"],
    actor: str,
    reason: str,
    request: str | None = None,
) -> Pointer:
    """Replace the pointer; the one moment at which readers see another generation."""
    sequence = before.sequence + 1 if before else 1
    done = Switch(sequence=sequence, action=action, generation=to.generation, actor=actor, reason=reason, request=request)
    history = (*(before.history if before else ()), done)[-_REMEMBERED:]
    pointer = Pointer(**to.model_dump(), sequence=sequence, line=line, aside=aside, history=history)
    with replacing(place / "pointer.json") as temporary:
        temporary.write_text(pointer.model_dump_json(indent=2), encoding="utf-8")
    log.info("generation %s is current (switch %d, %s)", to.generation, sequence, action)
    return pointer


@contextlib.contextmanager
def _writing(place: Path) -> Iterator[None]:
    """One writer at a time; waits for the one before."""
    if not place.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        for directory in (place, place.parent):
            descriptor = os.open(directory, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    (place / "generations").mkdir(exist_ok=True)
    with (place / "writer.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _disk_told(place: Path, needed: int = 0) -> Iterator[None]:
    """Tell of a full or failing disk in words."""
    try:
        yield
    except OSError as error:
        told = f"the disk under {place} fails ({error}); look at it and try again"
        if error.errno in _FULL:
            free = shutil.disk_usage(place).free
            told = f"no room under {place} for {needed:,} bytes, {free:,} are free; make room or lower publish_index.retain, and try again"
        raise TransientError(f"{told}. The published index is as it was") from error


def _whole(directory: Path, manifest_sha256: str) -> bool:
    try:
        verify(directory, manifest_sha256)
    except ModelError as error:
        log.warning("%s", error)
        return False
    return True


def _collect(place: Path, pointer: Pointer | None, *, debris_alone: bool = False) -> None:
    """Remove the debris of killed writers, and what neither `pointer` knows nor anybody holds. Only who holds the writers' lock may."""
    keep = {one.generation for one in pointer.known} if pointer else set()
    for path in place.glob(".pointer.json.*"):
        path.unlink(missing_ok=True)
    for path in sorted((place / "generations").iterdir()):
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
        elif not debris_alone and path.name not in keep and re.fullmatch(_ID, path.name, re.ASCII):
            with contextlib.suppress(OSError):  # the next writer tries again
                _remove_unless_held(path)


def _remove_unless_held(directory: Path) -> None:
    gone = directory.with_name(f".{directory.name}.gone")
    try:
        lock = (directory / _LOCK).open("r+b")
    except FileNotFoundError:  # by hand: nobody can hold it
        directory.replace(gone)
    else:
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("generation %s is being read; it is kept until a later publication", directory.name)
                return
            directory.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)
