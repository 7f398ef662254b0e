"""Tell a database server that refuses a login from one that does not answer: only the second is worth another try."""

import re

REFUSALS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "Peer authentication failed",
    "is not permitted to log in",
    "Access denied for user",
    "Unknown database",
)
"""The messages of PostgreSQL and MySQL for a wrong role, password or database. Before a connection exists, psycopg gives no SQLSTATE. The server says it in English
unless `lc_messages` is another: then it counts as transient.
"""


def is_refused(message: str) -> bool:
    """Return whether `message` is that of a server that answers and says no: it would say so again."""
    return any(found in message for found in REFUSALS) or re.search(r'FATAL: +(role|database) ".*" does not exist', message) is not None
