"""Long-lived credentials for alerting systems, which cannot refresh a login: good for ``POST /nightshift/alerts`` and for nothing else.

    python -m nightshift_airflow.credentials create --name alertmanager --days 365   # prints the token, this once
    python -m nightshift_airflow.credentials list
    python -m nightshift_airflow.credentials revoke --name alertmanager

Of a token only the sha256 is kept, which is enough: it is 256 random bits, not a password that could be guessed. Each credential is an Airflow
Variable of its own, so that every API server sees it and its end at once, it is in every backup of Airflow's database, and no table of ours
is in a schema that Airflow migrates. It is read from that database alone, never from the environment or a secrets backend. Anyone who may write
Airflow's Variables can make a credential; they may trigger runs anyway.
"""

import argparse
import datetime as dt
import hashlib
import hmac
import json
import logging
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass

PREFIX = "nsa_"
KEY = "nightshift_credential_"
LONGEST_DAYS = 3650
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)

log = logging.getLogger(__name__)


class CredentialError(Exception):
    """The command cannot do what it was asked; the message states fact, value and remedy."""


@dataclass(frozen=True)
class Credential:
    """The record of a token: whose it is, its sha256 (hexadecimal), and from when to when (UTC) it is good."""

    name: str
    sha256: str
    created: dt.datetime
    expires: dt.datetime


def create_credential(name: str, days: int, now: dt.datetime) -> str:
    """Keep a new credential, good for `days` from `now` (aware); return its token, which nobody can tell again. Raises
    `CredentialError`.
    """
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy.exc import IntegrityError

    if not _NAME.fullmatch(name):
        raise CredentialError(f"the name is {name[:60]!r}; take up to 40 small letters, digits and hyphens, such as alertmanager")
    if not 1 <= days <= LONGEST_DAYS:
        raise CredentialError(f"--days is {days}; a credential lives 1 to {LONGEST_DAYS} days")
    token = PREFIX + secrets.token_urlsafe(32)
    kept = {"sha256": _digest(token), "created": now.isoformat(), "expires": (now + dt.timedelta(days=days)).isoformat()}
    try:
        with create_session(scoped=False) as session:
            session.add(Variable(key=KEY + name, val=json.dumps(kept), description="For POST /nightshift/alerts; holds no secret."))
    except IntegrityError:
        raise CredentialError(f"there is a credential {name} already; revoke it first, or give the new one another name") from None
    return token


def list_credentials() -> list[Credential]:
    """Return all credentials by name, the expired ones too."""
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        rows = [
            (row.key.removeprefix(KEY), row.val)
            for row in session.scalars(select(Variable).where(Variable.key.startswith(KEY, autoescape=True)))
        ]
    return sorted((found for name, value in rows if (found := _read(name, value))), key=lambda credential: credential.name)


def revoke_credential(name: str) -> None:
    """End a credential; the next request with it is refused. Raises `CredentialError` if there is none."""
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        if (found := session.scalar(select(Variable).where(Variable.key == KEY + name))) is not None:
            session.delete(found)
    if found is None:
        names = ", ".join(credential.name for credential in list_credentials())
        raise CredentialError(f"there is no credential {name[:60]!r}; there are: {names or 'none'}")


def find_owner(token: str, now: dt.datetime) -> str | None:
    """Return the name of the credential that `token` is, or None for one that is unknown, revoked or, at `now`, expired.

    Every credential is compared, in constant time: how long it takes tells nothing.
    """
    digest = _digest(token)
    owners = [credential for credential in list_credentials() if hmac.compare_digest(credential.sha256, digest)]
    return next((credential.name for credential in owners if now < credential.expires), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _read(name: str, value: str | None) -> Credential | None:
    """Return the credential that a Variable holds; None, and a warning, where somebody has edited it or Airflow's Fernet key is another."""
    try:
        kept = json.loads(value or "")
        created, expires = (dt.datetime.fromisoformat(kept[key]).astimezone(dt.UTC) for key in ("created", "expires"))
        return Credential(name, str(kept["sha256"]).encode("ascii").decode(), created, expires)
    except (ValueError, KeyError, TypeError):
        log.warning("the Variable %s%s is not a credential; revoke it and make a new one", KEY, name)
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Return the command; the token goes to standard output alone, so that it can be sent straight into a file."""
    parser = argparse.ArgumentParser(
        prog="python -m nightshift_airflow.credentials", description="Credentials for POST /nightshift/alerts."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make one and print its token, this once")
    create.add_argument("--name", required=True, help="whose it is, such as alertmanager")
    create.add_argument("--days", type=int, default=365, help="how long it is good (%(default)s)")
    commands.add_parser("list", help="names and dates")
    commands.add_parser("revoke", help="end one, at once").add_argument("--name", required=True)
    options = parser.parse_args(argv)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    try:
        if options.command == "create":
            print(create_credential(options.name, options.days, now))
            print(f"{options.name}: good for {options.days} days; it is shown only now", file=sys.stderr)
        elif options.command == "revoke":
            revoke_credential(options.name)
            print(f"{options.name}: revoked")
        else:
            for credential in list_credentials():
                state = "expired" if credential.expires <= now else "good"
                print(f"{credential.name}\t{state}\tcreated {credential.created.isoformat()}\texpires {credential.expires.isoformat()}")
    except CredentialError as error:
        print(f"credentials: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
