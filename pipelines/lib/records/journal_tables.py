"""The tables of the journal. A column that is added here needs a default: databases of an earlier Nightshift get it on first use."""

import sqlalchemy as sa

_METADATA = sa.MetaData()


def _key(name: str, length: int) -> "sa.Column[str]":
    return sa.Column(name, sa.String(length), primary_key=True)


def _publication() -> "sa.Column[str]":
    return sa.Column("publication", sa.String(64), nullable=False, server_default="")


def _sequence() -> "sa.Column[int]":
    return sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False)


NIGHTS = sa.Table(
    "nights",
    _METADATA,
    _key("name", 200),
    _key("version", 50),
    _key("partition", 10),
    sa.Column("run_ref", sa.Text, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("histogram", sa.JSON, nullable=False),
    sa.Column("drift", sa.JSON, nullable=False),
    _publication(),
)

PERFORMANCE = sa.Table(
    "performance",
    _METADATA,
    _key("name", 200),
    _key("partition", 10),
    sa.Column("version", sa.String(50), nullable=False),
    sa.Column("outcomes_sha256", sa.String(64), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("figures", sa.JSON, nullable=False),
    sa.Column("slices", sa.JSON, nullable=False),
    _publication(),
)

DECISIONS = sa.Table(
    "decisions",
    _METADATA,
    _key("name", 200),
    _sequence(),
    sa.Column("partition", sa.String(10), nullable=False),
    sa.Column("version", sa.String(50), nullable=False),
    sa.Column("retrain", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("recorded_at", sa.DateTime, nullable=False),
)

VERDICTS = sa.Table(
    "verdicts",
    _METADATA,
    _key("name", 200),
    _sequence(),
    sa.Column("run_id", sa.String(250), nullable=False),
    sa.Column("partition", sa.String(10), nullable=False),
    sa.Column("champion", sa.String(50)),
    sa.Column("challenger", sa.String(50), nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("recorded_at", sa.DateTime, nullable=False),
)
