"""When the decision on a row is true: from a declared score on, within a budget of alerts, or where it costs less than to do nothing.

With costs, the threshold is that of Elkan 2001, *The Foundations of Cost-Sensitive Learning*, IJCAI: an alert is worth it from the probability at which a
false alarm and a miss are expected to cost the same. That needs scores that are calibrated, as the model card shows.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipelines.lib.core.params import Section

Scores = NDArray[np.float32]

_FORMS = "a number from 0 to 1, {alerts_per_night: 200}, or {false_alarm_cost: 1, miss_cost: 50}"


class DecisionRule(Section):
    """`at`: the score from which the decision is true; a plain number says the same.

    `alerts_per_night`: it is true for the rows of a night with the highest scores, at most this many. Rows with the same score are treated alike.
    `false_alarm_cost` and `miss_cost`, in any unit: it is true if an alert is expected to cost less than none.
    """

    at: float | None = Field(default=None, ge=0, le=1)
    alerts_per_night: int | None = Field(default=None, ge=1)
    false_alarm_cost: float | None = Field(default=None, gt=0)
    miss_cost: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _of_number(cls, given: Any) -> Any:
        if isinstance(given, dict | DecisionRule):
            return given
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise ValueError(f"is {given!r}; write {_FORMS}")  # noqa: TRY004  pydantic reports a ValueError, and lets a TypeError through
        return {"at": given}

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        costs = [cost for cost in (self.false_alarm_cost, self.miss_cost) if cost is not None]
        rules = sum([self.at is not None, self.alerts_per_night is not None, bool(costs)])
        if rules != 1 or len(costs) == 1:
            raise ValueError(f"must be one rule; write {_FORMS}")
        return self

    @property
    def fixed(self) -> float | None:
        """The score from which the decision is true on any night; None for a budget, whose threshold each night's scores decide."""
        if self.false_alarm_cost is not None and self.miss_cost is not None:
            return self.false_alarm_cost / (self.false_alarm_cost + self.miss_cost)
        return self.at

    def threshold(self, scores: Scores) -> np.float32:
        """Return the least score of one night's `scores` [n] whose decision is true."""
        fixed, most = self.fixed, self.alerts_per_night
        if fixed is not None or most is None:
            return np.float32(fixed)
        if len(scores) <= most:
            return np.float32(0)
        first_left_out = np.partition(scores, len(scores) - most - 1)[len(scores) - most - 1]
        return np.float32(np.nextafter(first_left_out, np.float32(np.inf)))

    def decisions(self, scores: Scores) -> NDArray[np.bool_]:
        """Return the decision on each row of one night: scores float32 [n] -> bool [n]."""
        return np.asarray(scores >= self.threshold(scores))

    def __str__(self) -> str:
        """Say the rule in words."""
        if self.alerts_per_night is not None:
            return f"the {self.alerts_per_night:,} highest scores of a night"
        if self.miss_cost is not None:
            return f"a score from {self.fixed:.3g} on, since a false alarm costs {self.false_alarm_cost:g} and a miss {self.miss_cost:g}"
        return f"a score from {self.at:g} on"


class Decided(Section, extra="ignore"):
    """The key of section ``score`` that says when a decision is true, for stages that do not score a night."""

    threshold: DecisionRule


def decide_within_budget(path: Path, rule: DecisionRule) -> None:
    """Write the column ``decision`` of the scores file `path`, a night, as `rule` says once all scores are known. Memory holds one float32 a row."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from pipelines.lib.models.scores_file import scores_writer

    scores = pq.read_table(path, columns=["score"], page_checksum_verification=True)["score"].combine_chunks()
    least = pa.scalar(float(rule.threshold(np.from_dlpack(scores).astype(np.float32, copy=False))), pa.float32())
    decided = path.with_name(f"{path.name}.decided")
    with pq.ParquetFile(path, page_checksum_verification=True) as file, scores_writer(decided, file.schema_arrow) as writer:
        place = file.schema_arrow.get_field_index("decision")
        for batch in file.iter_batches(use_threads=False):
            decision = pc.greater_equal(batch.column("score"), least)
            writer.write_batch(batch.set_column(place, file.schema_arrow.field(place), decision))
    decided.replace(path)
