"""The settings of embedded Airflow: its airflow.cfg, written at each start, and the secrets that its first start makes."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
USERNAME = "nightshift"


@dataclass(frozen=True)
class Secrets:
    """The secrets of one installation; `password` is that of the one user."""

    password: str
    fernet_key: str
    secret_key: str
    jwt_secret: str


def load_secrets(airflow_home: Path) -> Secrets:
    """Read this installation's secrets; make them at its first start, readable by their owner alone."""
    path = airflow_home / "secrets.json"
    if path.exists():
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    made = Secrets(
        password=secrets.token_urlsafe(16),
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        secret_key=secrets.token_urlsafe(32),
        jwt_secret=secrets.token_urlsafe(64),
    )
    write_private(path, json.dumps(asdict(made)))
    return made


def write_settings(airflow_home: Path, repository: Path, kept: Secrets, *, port: int, schedule: bool, parse_every_s: int) -> None:
    """Write airflow.cfg and passwords.json of an Airflow at `port`. With `schedule` False the clock starts no run. DAG files are read again every
    `parse_every_s` seconds.

    Values are written as they are, so the paths must have passed `pipelines.lib.core.home.check_path`: Airflow expands ``%`` and ``$``.
    """
    url = f"http://{HOST}:{port}"
    passwords = airflow_home / "passwords.json"
    write_private(passwords, json.dumps({USERNAME: kept.password}))
    settings: dict[str, dict[str, Any]] = {
        "core": {
            "dags_folder": repository / "dags",
            "plugins_folder": repository / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 4,  # the default of 32 idle workers takes 1.6 GB
            "load_examples": False,
            "fernet_key": kept.fernet_key,
            "simple_auth_manager_users": f"{USERNAME}:admin",
            "simple_auth_manager_passwords_file": passwords,
            "execution_api_server_url": f"{url}/execution/",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{airflow_home / 'airflow.db'}", "load_default_connections": False},
        "api": {"host": HOST, "port": port, "base_url": url, "secret_key": kept.secret_key, "workers": 1},
        "api_auth": {"jwt_secret": kept.jwt_secret},
        "scheduler": {
            # How many runs the clock may start in one look: none stops the clock alone, where use_job_schedule would stop assets too.
            "max_dagruns_to_create_per_loop": 10 if schedule else 0,
            "scheduler_idle_sleep_time": 0.2,  # how long a finished task waits to be noticed; 1 s by default, for each of eleven tasks
            "task_instance_heartbeat_timeout": 60,  # how long a task of a killed scheduler counts as running; 300 s by default
            # A killed scheduler counts as dead after 30 s; how often its successor then looks for what it left running: 300 s by default.
            "orphaned_tasks_check_interval": 10,
            "enable_health_check": False,
        },
        "workers": {"min_heartbeat_interval": 1},  # also how long a worker may overlook that its task has ended; 5 s by default
        "dag_processor": {"min_file_process_interval": parse_every_s, "refresh_interval": parse_every_s},
        "logging": {"base_log_folder": airflow_home / "logs"},
        "usage_data_collection": {"enabled": False},
    }
    lines = [
        line for section, values in settings.items() for line in (f"[{section}]", *(f"{key} = {value}" for key, value in values.items()))
    ]
    write_private(airflow_home / "airflow.cfg", "\n".join(lines) + "\n")


def write_private(path: Path, content: str) -> None:
    """Write `content` so that nobody but the owner can ever read it, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)
