"""Names of time zones: those of the IANA database, and no others."""

import pytest

from pipelines.lib.core.time_zones import require_zone


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_a_known_zone_is_taken_as_it_is(zone: str) -> None:
    assert require_zone(zone, "time_zone") == zone


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Berln", "time_zone is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin?"),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("../etc/passwd", "not in the IANA database"),
        ("", "not in the IANA database"),
        ("localtime", "not in the IANA database"),  # another zone on each machine
    ],
)
def test_an_unknown_zone_is_refused_with_the_closest_name(zone: str, said: str) -> None:
    with pytest.raises(ValueError, match="time_zone is") as refused:
        require_zone(zone, "time_zone")
    assert said in str(refused.value)
