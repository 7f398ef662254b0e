"""The messages of servers that refuse a login, and of a network that does not reach them."""

import pytest

from pipelines.lib.core.refused_login import is_refused


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ('FATAL:  password authentication failed for user "x"', True),
        ('FATAL:  role "x" does not exist', True),
        ('FATAL:  database "x" does not exist', True),
        ("(1045, \"Access denied for user 'x'@'localhost'\")", True),
        ('relation "x" does not exist', False),
        ("FATAL:  the database system is starting up", False),
        ("connection refused: is the server running?", False),
    ],
)
def test_a_refusal_is_told_from_silence(message: str, refused: bool) -> None:
    assert is_refused(message) == refused
