"""sha256 of files, as hexadecimal text."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the digest of the file at `path`, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
