"""Write fresh secrets for docker-compose.yaml: ``python3 -m deploy.compose.make_secrets var/production.env``.

The file is for its owner's eyes alone and is never overwritten, since the databases keep the passwords that they were made with.
Needs the standard library only. Hexadecimal, so that a password needs no quoting in a URL.
"""

import base64
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

PASSWORDS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "CELERY_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "LEDGER_DB_PASSWORD",
    "REDIS_PASSWORD",
    "S3_SECRET_KEY",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
)


def make_secrets() -> dict[str, str]:
    """Make a value for every variable that docker-compose.yaml requires."""
    made = {name: secrets.token_hex(32) for name in PASSWORDS}
    made["S3_ACCESS_KEY"] = f"nightshift{secrets.token_hex(5)}"
    made["AIRFLOW_FERNET_KEY"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file that the one argument names; 1 where it exists."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python3 -m deploy.compose.make_secrets FILE, such as var/production.env", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{path} exists and is kept: the databases know its passwords. Remove it only together with their volumes", file=sys.stderr)
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in make_secrets().items())
    print(f"wrote {path}; back it up where secrets are kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
