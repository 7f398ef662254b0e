"""The `path` of a source of files: a file, a folder, a glob, or a pattern in which ``{partition}`` stands for the date of the rows.

``{partition}`` is a date as in 2024-01-05; ``{partition:%Y%m%d}`` has a format of ``strptime``. A date may be spread over folders:
``year={partition:%Y}/month={partition:%m}/day={partition:%d}/*.parquet``.
"""

import datetime as dt
import re

_PLACE = re.compile(r"\{partition(?::([^{}]*))?\}")
_WILDCARDS = frozenset("*?[")
S3 = "s3://"


def require_usable(path: str) -> None:
    """Raise `ValueError` if `path` is a URL of another kind than S3, or has a ``{partition}`` that does not name one date."""
    if "://" in path and not path.startswith(S3):
        raise ValueError(f"path {path!r} is a URL that is not read; write a local path, or s3://bucket/key")
    if path.startswith(S3) and not path.removeprefix(S3).split("/")[0]:
        raise ValueError(f"path {path!r} names no bucket; write s3://bucket/key")
    formats = []
    for part in path.split("/"):
        places = _PLACE.findall(part)
        formats += [form or "%Y-%m-%d" for form in places]
        if places and (len(places) > 1 or _WILDCARDS & set(_PLACE.sub("", part))):
            raise ValueError(
                f"path has {part!r}: next to {{partition}} stand plain letters alone; write for example orders_{{partition}}.csv"
            )
    if not formats:
        if "{partition" in path:
            raise ValueError(
                f"path {path!r} has a {{partition}} that is not closed within its folder; write {{partition}}, {{partition:%Y%m%d}}, or one for each folder: "
                "{partition:%Y}/{partition:%m}"
            )
        return
    if "**" in path:
        raise ValueError(f"path {path!r} has both ** and {{partition}}; write one * for each folder")
    form, day = "/".join(formats), dt.date(2012, 11, 23)
    try:
        whole = dt.datetime.strptime(day.strftime(form), form).date() == day  # noqa: DTZ007 - a date has no zone
    except ValueError:
        whole = False
    if not whole:
        raise ValueError(f"path {path!r} does not name a whole date; give year, month and day, as in {{partition:%Y-%m-%d}}")


def glob_of(path: str) -> str:
    """Return `path` with a wildcard in each place of ``{partition}``."""
    return _PLACE.sub("*", path)


def names_partition(path: str) -> bool:
    """Return whether `path` has a ``{partition}``."""
    return _PLACE.search(path) is not None


def partition_of(path: str, file: str) -> dt.date | None:
    """Return the date that `file`, a match of ``glob_of(path)``, has in the places of ``{partition}``; None if it is not a date there."""
    formats, texts = [], []
    for wanted, found in zip(path.split("/"), file.split("/"), strict=True):
        if place := _PLACE.search(wanted):
            before, after = wanted[: place.start()], wanted[place.end() :]
            formats.append(place[1] or "%Y-%m-%d")
            texts.append(found[len(before) : len(found) - len(after)])
    try:
        return dt.datetime.strptime("/".join(texts), "/".join(formats)).date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None


def path_of(path: str, day: dt.date) -> str | None:
    """Return the one file that `path` names for `day`; None if it has no ``{partition}``, or a wildcard as well."""
    if not names_partition(path) or has_wildcard(path):
        return None
    return _PLACE.sub(lambda place: day.strftime(place[1] or "%Y-%m-%d"), path)


def has_wildcard(path: str) -> bool:
    """Return whether `path` is a glob."""
    return bool(_WILDCARDS & set(path))
