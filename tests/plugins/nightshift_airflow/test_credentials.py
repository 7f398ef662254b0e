"""Credentials: the token is shown once, kept as a hash, and ends when it was said to end."""

import datetime as dt
import json

import pytest

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Airflow's table of Variables in a database of its own; yields a function that reads it."""
    from airflow import settings
    from airflow.models import Variable
    from airflow.models.base import Base
    from airflow.models.team import Team
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import sessionmaker

    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Base.metadata.create_all(engine, tables=[Variable.__table__, Team.__table__])
    monkeypatch.setattr(settings, "NonScopedSession", sessionmaker(engine, expire_on_commit=False))

    def ask(statement):
        with engine.begin() as connection:
            found = connection.execute(text(statement))
            return found.all() if found.returns_rows else None

    yield ask
    engine.dispose()


@pytest.mark.costly
def test_a_credential_opens_until_it_ends(store):
    from nightshift_airflow.credentials import create_credential, find_owner

    token = create_credential("alertmanager", 30, NOW)
    assert token.startswith("nsa_") and len(token) >= 4 + 43  # 256 bits in base64
    assert find_owner(token, NOW) == "alertmanager"
    assert find_owner(token, NOW + 30 * DAY - dt.timedelta(seconds=1)) == "alertmanager"
    assert find_owner(token, NOW + 30 * DAY) is None


@pytest.mark.parametrize(
    "change", [lambda t: t + "x", lambda t: t[:-1], lambda t: t.upper(), lambda t: "nsa_", lambda t: "", lambda t: "nsa_\udcff"]
)
def test_another_token_opens_nothing(store, change):
    from nightshift_airflow.credentials import create_credential, find_owner

    assert find_owner(change(create_credential("alertmanager", 30, NOW)), NOW) is None


def test_the_token_is_kept_nowhere(store, tmp_path):
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from nightshift_airflow.credentials import create_credential
    from sqlalchemy import select

    token = create_credential("alertmanager", 30, NOW)
    assert token.encode() not in (tmp_path / "airflow.db").read_bytes()
    with create_session(scoped=False) as session:
        kept = json.loads(session.scalars(select(Variable)).one().val)
    assert set(kept) == {"sha256", "created", "expires"}
    assert token not in kept.values()


def test_each_has_its_own_and_revoking_one_leaves_the_other(store):
    from nightshift_airflow.credentials import create_credential, find_owner, list_credentials, revoke_credential

    first, second = create_credential("alertmanager", 30, NOW), create_credential("grafana", 60, NOW)
    assert [(kept.name, kept.expires) for kept in list_credentials()] == [("alertmanager", NOW + 30 * DAY), ("grafana", NOW + 60 * DAY)]
    revoke_credential("alertmanager")
    assert find_owner(first, NOW) is None
    assert find_owner(second, NOW) == "grafana"


def test_what_cannot_be_is_refused(store):
    from nightshift_airflow.credentials import CredentialError, create_credential, revoke_credential

    create_credential("alertmanager", 30, NOW)
    with pytest.raises(CredentialError, match="already; revoke it first"):
        create_credential("alertmanager", 30, NOW)
    for name in ("", "Alert", "a b", "a" * 41, "../x", "a_b", "ä"):
        with pytest.raises(CredentialError, match="the name is"):
            create_credential(name, 30, NOW)
    for days in (0, -1, 3651):
        with pytest.raises(CredentialError, match="lives 1 to 3650 days"):
            create_credential("other", days, NOW)
    with pytest.raises(CredentialError, match="there is no credential 'other'; there are: alertmanager"):
        revoke_credential("other")


@pytest.mark.parametrize("value", ["", "{}", "[]", "null", "x", '{"sha256": "é", "created": "2026-01-01", "expires": "2027-01-01"}'])
def test_a_variable_that_was_edited_opens_nothing_and_hides_no_other(store, value):
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from nightshift_airflow.credentials import create_credential, find_owner, revoke_credential

    token = create_credential("alertmanager", 30, NOW)
    with create_session(scoped=False) as session:
        session.add(Variable(key="nightshift_credential_broken", val=value))
        session.add(Variable(key="nightshiftXcredentialXlike", val=value))
    assert find_owner(token, NOW) == "alertmanager"
    assert find_owner("nsa_", NOW) is None
    revoke_credential("broken")


def test_the_command_prints_the_token_alone(store, capsys):
    from nightshift_airflow.credentials import find_owner, main

    assert main(["create", "--name", "alertmanager", "--days", "7"]) == 0
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert find_owner(token, dt.datetime.now(dt.UTC)) == "alertmanager"
    assert token not in printed.err
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("alertmanager\tgood\tcreated ") and token not in listed
    assert main(["create", "--name", "alertmanager"]) == 1
    assert "revoke it first" in capsys.readouterr().err
    assert main(["revoke", "--name", "alertmanager"]) == 0
    assert find_owner(token, dt.datetime.now(dt.UTC)) is None
