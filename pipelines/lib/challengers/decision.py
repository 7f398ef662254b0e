"""The decision of `decide` on a challenger, and the evidence that `register`, `promote` and `refuse` require."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from pipelines.lib.core import contract
from pipelines.lib.core.contract import STRICT
from pipelines.lib.core.errors import DataError, GateFailed
from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.run import RunFile

Basis = Literal["better", "fresher"]
"""Why a challenger is promoted: it is better, or it is fresher and no difference is clear."""


@dataclass(frozen=True)
class Table:
    """The comparison: a sentence on the rows that it covers, and cells as text. The page or form that shows it escapes them."""

    __pydantic_config__ = STRICT

    lead: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Decision:
    """The verdict on version `challenger` against version `champion` (None before the first), as of `partition`.

    `reasons` are all the sentences that lead to the `verdict`, and no others. `table` is None if nothing was compared, and `basis` if the
    verdict is not to promote.
    """

    __pydantic_config__ = STRICT

    partition: str
    champion: str | None
    challenger: str
    verdict: Literal["promote", "refuse", "ask"]
    reasons: tuple[str, ...]
    table: Table | None
    basis: Basis | None = None

    def to_json(self) -> str:
        """Return the decision as `decide` writes it."""
        return contract.to_json(self)

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Read the decision that `decide` has written to `path`. Raises `DataError` if it is not a whole decision."""
        return contract.from_json(cls, path, "decide")


class Judged(Protocol):
    """The result of a gate for the model file with digest `sha256`. A model with `faults` must not be registered."""

    @property
    def sha256(self) -> str | None: ...

    @property
    def faults(self) -> tuple[str, ...]: ...


def require_sound(judged: Judged, report: Path, digest: str, gate: str = "evaluate") -> None:
    """Raise `GateFailed` unless `judged`, which `gate` has written into `report`, is about the file with `digest`, and without faults."""
    if judged.faults:
        raise GateFailed(
            f"the model did not pass {gate} ({'; '.join(judged.faults)}), so it is not registered; see {report / 'report.html'}"
        )
    if judged.sha256 != digest:
        raise GateFailed(
            f"{report / 'evaluation.json'} judges the model {judged.sha256}, the file has sha256 {digest}; run: dvc repro {gate}"
        )


def decision_on(version: str, path: Path) -> Decision:
    """Read the decision at `path`. Raises `DataError` if it is not a whole decision, or if it is on another version than `version`."""
    decision = Decision.from_json(path)
    if decision.challenger != version:
        raise DataError(f"{path} is the decision on version {decision.challenger}, but version {version} is registered; run decide again")
    return decision


def require_allowed(decision: Decision, approver: str | None) -> None:
    """Raise `GateFailed` unless the verdict is promote, or is ask and `approver` has approved: nobody promotes past a refusal."""
    if decision.verdict == "promote" or (decision.verdict == "ask" and approver):
        return
    why = "nobody has approved it" if decision.verdict == "ask" else "it was refused"
    raise GateFailed(f"the challenger was not promoted: {why} ({'; '.join(decision.reasons)}). See docs/runbooks/approval-waiting.md")


def record_refusal(run: RunFile, challenger: str, reason: str, actor: str) -> None:
    """Record in the journal that `actor` refused the `challenger` of `run`; a second call adds nothing."""
    from pipelines.lib.records.journal import Journal, Verdict

    verdict = Verdict(run.model.name, run.run_id, run.partition, run.model.champion, challenger, "refused", reason, actor)
    Journal(ledger_url()).record_verdict(verdict)
