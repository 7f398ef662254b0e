"""DVC's configuration of the repository and of its workspaces."""

from pathlib import Path

from nightshift_airflow import places


def configure_dvc(path: Path) -> None:
    """Write ``.dvc/config.local``: the repository's own local settings (remotes, credentials) with the shared cache on top."""
    settings = _read_config(places.REPOSITORY / ".dvc" / "config.local")
    settings.setdefault("core", {}).update(
        {"analytics": "false", "hardlink_lock": "false"}
    )  # `attempt` holds the lock that DVC has by default
    for section in settings:
        if "remote" in section:  # what comes from a remote is compared with its digest
            settings[section].setdefault("verify", "true")
    settings.setdefault("cache", {}).update({"dir": str(places.cache()), "type": "reflink,hardlink,copy"})
    lines = [
        line
        for section, values in settings.items()
        for line in (f"[{section}]", *(f"    {key} = {value}" for key, value in values.items()))
    ]
    target = path / ".dvc" / "config.local"
    target.touch(mode=0o600)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def has_remote(path: Path) -> bool:
    """Return whether the repository or workspace at `path` has a default DVC remote to push to."""
    return any("remote" in _read_config(path / ".dvc" / name).get("core", {}) for name in ("config", "config.local"))


def _read_config(path: Path) -> dict[str, dict[str, str]]:
    """Return a DVC configuration file as ``{section: {key: value}}``; empty if there is none."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as configparser documents it: keys keep their case
    parser.read(path, encoding="utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}
