"""The one coordinate of time: a partition is a date, written ``2013-06-01``."""

import datetime as dt
import re

from pipelines.lib.core.errors import ConfigError

_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_partition(text: object) -> dt.date:
    """Return the date that `text` names.

    Raises `ConfigError` for anything but a string of ten characters that is a date of the calendar: what comes from
    outside becomes a path, a predicate and a ref, so nothing is guessed.
    """
    if not isinstance(text, str):
        raise ConfigError(f"partition is {text!r}, a {type(text).__name__}; write it as a quoted string: '2013-06-01'")
    shown = text if len(text) <= 40 else f"{text[:40]}… ({len(text)} characters)"
    if not _PATTERN.fullmatch(text):
        raise ConfigError(f"partition is {shown!r}; it must be a date like '2013-06-01'")
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"partition is {shown!r}, which is not in the calendar ({error}); write a date that is") from None
