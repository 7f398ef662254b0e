"""Time zones by their name in the IANA database, such as Europe/Berlin."""

import difflib
import re
import zoneinfo

_OF_THE_MACHINE = frozenset({"localtime", "Factory", "posixrules"})
"""Names that the database of some systems has, and that mean another zone on each machine, or none."""


def require_zone(zone: str, key: str) -> str:
    """Return `zone`, the value of `key`. Raises `ValueError` with the closest known name if the IANA database does not have it."""
    try:
        zoneinfo.ZoneInfo(zone)
        known = zone not in _OF_THE_MACHINE
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = False
    if not known:
        offered = sorted(zoneinfo.available_timezones() - _OF_THE_MACHINE)
        near = difflib.get_close_matches(zone, offered, n=1, cutoff=0.5)
        if re.fullmatch(r"(UTC|GMT)?[+-]\d{1,2}(:?\d\d)?", zone):
            remedy = "an offset is not a zone: write the name of yours, such as Europe/Berlin"
        else:
            remedy = f"did you mean {near[0]}?" if near else "write one such as Europe/Berlin"
        raise ValueError(f"{key} is {zone!r}, which is not in the IANA database; {remedy}")
    return zone
