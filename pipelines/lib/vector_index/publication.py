"""Change which generation of an index is current: `publish` and `rollback`, the only writers of what `pipelines.lib.vector_index.generations` reads.

One writer at a time. A generation is written to a temporary directory, flushed to disk and renamed. Then the pointer is replaced. A process that dies on the way leaves the old
pointer and at most debris, which the next writer removes, as it removes what is no longer kept and nobody holds.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, DataError, LedgerConflict, ModelError, TransientError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.vector_index.generations import (
    ENCODER,
    ID,
    LOCK,
    MANIFEST,
    Generation,
    Pointer,
    Switch,
    UnreadableError,
    current,
    generation_dir,
    locate,
    usable,
    verify,
)
from pipelines.lib.vector_index.search import BUILT

log = logging.getLogger("nightshift")

PREVIOUS = "previous"
"""In place of an id: the newest generation before the current one that is whole."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEMBERED = 100
"""Switches that the pointer describes: a request is known to be fulfilled for as long."""


def built_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Name -> ``{"sha256", "bytes"}`` of every file in `directory`, in the order of the names; what a verdict on these very bytes names."""
    return {path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(directory.iterdir())}


def described(built: Path, encoder: Path, manifest: Mapping[str, Any]) -> tuple[Generation, dict[str, Any]]:
    """Return the generation that `publish` makes of the same arguments, and all that its manifest says. Raises what `publish` raises for
    what does not fit.
    """
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

    A broken generation is not kept: nobody could go back to it. One that cannot be read at this moment may be whole, and is kept.

    The manifest is the content of ``built.json``, what `manifest` says (at least partition, encoder_version, encoder_sha256) and the digests of all
    files. `expected_sequence` is that of the pointer which the author has seen (0: no generation that could be used). A generation that is already in the line is
    not published again.

    Raises `LedgerConflict` if somebody switched since, `ModelError` where encoder and build do not belong together, `TransientError`
    where the disk is full or fails: the pointer is then as it was.
    """
    new, content = described(built, encoder, manifest)
    text, sha256 = _text(content), new.manifest_sha256
    place, target = generation_dir(name, root), locate(name, new.generation, root)
    with _disk_told(place, sum(file["bytes"] for file in content["files"].values())), _writing(place):
        pointer = current(name, root)
        again = pointer if pointer and new in pointer.way_back else None
        if not again:
            _require_expected(name, pointer, expected_sequence, new, root)
        _collect(place, pointer, debris_alone=pointer is None)  # whose pointer was lost may be all that there is, until the new one stands
        if again and not _broken(target, sha256):
            log.info("generation %s was published before; nothing is changed", new.generation)
            return again
        with replacing(target) as temporary:
            temporary.mkdir()
            for file in content["files"]:
                shutil.copyfile(encoder if file == ENCODER else built / file, temporary / file)
            (temporary / MANIFEST).write_bytes(text)
            (temporary / LOCK).touch()
            verify(temporary, sha256)
        if again:
            log.warning("generation %s was broken on disk; it was written again", new.generation)
            return again
        before = (*pointer.line, pointer.current) if pointer and retain > 1 else ()
        line = tuple(one for one in before if not _broken(locate(name, one.generation, root), one.manifest_sha256))[1 - retain :]
        switched = _switch(place, pointer, new, line, (), action="publish", actor=actor, reason=reason)
        _collect(place, switched)
    return switched


def rollback(name: str, to: str, actor: str, reason: str, *, request: str | None = None, root: Path | None = None) -> Pointer:
    """Make generation `to` of index `name` current (``previous``: the newest one before it that is whole), after its files were verified.

    Also what was rolled back from can be named, until the next publication. The same `request` is fulfilled once. Returns the pointer. Raises
    `ModelError` for a generation that is unknown or broken, `ConfigError` for what is not an id or current already; nothing is changed then.
    """
    if to != PREVIOUS:
        locate(name, to, root)
    place = generation_dir(name, root)
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
            left = (*pointer.line[place_in_line + 1 :], pointer.current)
            line, aside = pointer.line[:place_in_line], (*pointer.aside, *left)
        else:
            line, aside = (*pointer.line, pointer.current), tuple(one for one in pointer.aside if one != target)
        return _switch(place, pointer, target, line, aside, action="rollback", actor=actor, reason=reason, request=request)


def _text(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2, sort_keys=True).encode()


def _manifest(built: Path, encoder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that the manifest says, checked as far as it can be without FAISS."""
    try:
        message: dict[str, Any] = json.loads((built / BUILT).read_bytes())
        files = {**(manifest.get("files") or built_files(built)), ENCODER: {"sha256": sha256_of(encoder), "bytes": encoder.stat().st_size}}
    except (OSError, ValueError) as error:
        raise DataError(f"{built} is not a whole build ({type(error).__name__}: {error}); run build_index again") from None
    content = {**message, **manifest, "files": files}
    parse_partition(content.get("partition"))
    made_by = {"build": message.get("encoder_sha256"), "manifest": content["encoder_sha256"], "file": files[ENCODER]["sha256"]}
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
            raise LedgerConflict(f"{name} has no pointer, but the run has seen switch {expected}; who removed it? Start a new run")
        return
    if expected == 0:
        try:
            usable(name, root)
        except ModelError:  # nothing that is whole: so the author has seen none either
            return
    last = pointer.history[-1]
    message = "was rolled back from" if new in pointer.aside else "is not published"
    raise LedgerConflict(
        f"generation {new.generation} of {name} {message}: it was built when switch {expected} was the last one, and since then {last.actor} has made "
        f"{last.generation} current (switch {pointer.sequence}, {last.action}{f': {last.reason}' if last.reason else ''}). Start a new rebuild"
    )


def _target(name: str, pointer: Pointer, to: str, root: Path | None) -> Generation:
    """Return the generation that is meant by `to`, whose files were verified."""
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
    """Yield one writer at a time; waits for the one before."""
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
    """Report a full or failing disk in words."""
    try:
        yield
    except OSError as error:
        message = f"the disk under {place} fails ({error}); look at it and try again"
        if error.errno in _FULL:
            free = shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free
            wanted = f"{needed:,} bytes, {free:,} are free" if needed else "a pointer"
            message = f"no room under {place} for {wanted}; make room or lower publish_index.retained_generations, and try again"
        raise TransientError(f"{message}. The published index is as it was") from error


def _broken(directory: Path, manifest_sha256: str) -> bool:
    """Return whether the generation can never be served again; of one that cannot be read nobody knows."""
    try:
        verify(directory, manifest_sha256)
    except ModelError as error:
        log.warning("%s", error)
        return not isinstance(error, UnreadableError)
    return False


def _collect(place: Path, pointer: Pointer | None, *, debris_alone: bool = False) -> None:
    """Remove the debris of killed writers, and what neither `pointer` knows nor anybody holds. Only who holds the writers' lock may."""
    keep = {one.generation for one in pointer.known} if pointer else set()
    for path in place.glob(".pointer.json.*"):
        path.unlink(missing_ok=True)
    for path in sorted((place / "generations").iterdir()):
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
        elif not debris_alone and path.name not in keep and re.fullmatch(ID, path.name, re.ASCII):
            with contextlib.suppress(OSError):  # the next writer tries again
                _remove_unless_held(path)


def _remove_unless_held(directory: Path) -> None:
    gone = directory.with_name(f".{directory.name}.gone")
    try:
        lock = (directory / LOCK).open("r+b")
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
