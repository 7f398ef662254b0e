"""A column of a table: its type, and what is normal for its values.

Types are kept to those that mean the same in Parquet, CSV and SQL.
"""

import re
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from pipelines.lib.core.params import Section
from pipelines.lib.core.time_zones import require_zone
from pipelines.lib.tables.local_time import INSTANT

ColumnType = Literal["string", "integer", "float", "boolean", "timestamp", "date"]


class Column(Section):
    """The declaration of a column; the gates' expectations are generated from it.

    `nulls` is the largest share of missing values that is still normal. `minimum` and `maximum` are inclusive, and of an integer column exact.
    `values` is the closed set of known values of a string, integer or boolean column, kept as the engine writes them as text (``7``, ``true``);
    `unseen` is the largest share outside it that is still normal.

    `written_in` is the time zone of times that the source writes without one, if the dataset has a `time_zone`. A time that its clocks skip is refused, and so is one
    that they show twice, unless `repeated_hour` says which of the two is meant.
    """

    type: ColumnType
    written_in: str | None = None
    repeated_hour: Literal["first", "second"] | None = None
    nulls: float = Field(default=0.0, ge=0, le=1)
    minimum: int | float | None = None
    maximum: int | float | None = None
    values: tuple[str, ...] | None = None
    unseen: float = Field(default=0.0, ge=0, le=1)
    _zone: str | None = PrivateAttr(default=None)

    @property
    def zone(self) -> str | None:
        """The time zone of the dataset, if the values are instants; None if they are not, or times without a zone."""
        return self._zone if self.type == "timestamp" else None

    @property
    def in_time_zone(self) -> bool:
        """Whether the dataset has a time zone, regardless of the type of the column."""
        return self._zone is not None

    def in_zone(self, time_zone: str | None) -> Self:
        """Return the same column as one of a dataset with `time_zone`."""
        column = self.model_copy()
        column._zone = time_zone
        return column

    @model_validator(mode="before")
    @classmethod
    def _values_as_text(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("values"), list | tuple):
            return content
        kind, values = content.get("type"), content["values"]
        return content | {"values": tuple(_value_as_text(value, kind) if kind in ("integer", "boolean") else value for value in values)}

    @model_validator(mode="after")
    def _judgeable(self) -> Self:
        if self.values is not None and self.type not in ("string", "integer", "boolean"):
            raise ValueError(f"values of a {self.type} column cannot be listed; give minimum and maximum, or declare the column as string")
        if self.type not in ("integer", "float") and (self.minimum is not None or self.maximum is not None):
            raise ValueError(
                f"minimum and maximum are of a number, the column is a {self.type}; write an expectation in the gate's section"
            )
        if self.written_in is not None:
            if self.type != "timestamp":
                raise ValueError(f"written_in is of a timestamp, the column is a {self.type}; take it out")
            require_zone(self.written_in, "written_in")
        if self.repeated_hour is not None and self.written_in is None:
            raise ValueError(
                "repeated_hour needs written_in, the zone whose clocks show the hour twice; write it, or take repeated_hour out"
            )
        return self

    def typed_values(self) -> list[str | int | bool]:
        """List `values` in the type of the column. Empty if there are none."""
        convert: dict[str, Any] = {"integer": int, "boolean": lambda value: value == "true"}
        return [convert.get(self.type, str)(value) for value in self.values or ()]


def _value_as_text(value: object, kind: str) -> str:
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    if kind == "boolean" and shown not in ("true", "false"):
        raise ValueError(f"values has {value!r}, which is not a boolean; write true or false")
    if kind == "integer" and (isinstance(value, bool) or not re.fullmatch(r"0|-?[1-9][0-9]*", shown, re.ASCII)):
        raise ValueError(f"values has {value!r}, which is not an integer; write it as a whole number")
    return shown


SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP", "date": "DATE"}


def sql_type(declared: Column) -> str:
    """Return the type that a column has in DuckDB."""
    return INSTANT if declared.zone else SQL_TYPES[declared.type]
