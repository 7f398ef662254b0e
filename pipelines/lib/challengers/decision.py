"""What `decide` says of a challenger, and what `register`, `promote` and `refuse` require of the evidence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from pipelines.lib.core import contract
from pipelines.lib.core.contract import STRICT
from pipelines.lib.core.errors import DataError, GateFailed
from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.run import RunFile


@dataclass(frozen=True)
class Table:
    """The comparison: a sentence on what it covers, and cells as text. The page or form that shows it escapes them."""

    __pydantic_config__ = STRICT

    lead: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Decision:
    """What becomes of version `challenger` against version `champion`, None before the first, as of `partition`.

    `reasons` are all the sentences that lead to the `verdict`, and no others; `table` is None if nothing was compared.
    """

    __pydantic_config__ = STRICT

    partition: str
    champion: str | None
    challenger: str
    verdict: Literal["promote", "refuse", "ask"]
    reasons: tuple[str, ...]
    table: Table | None

    def to_json(self) -> str:
        """Return the decision as `decide` writes it."""
        return contract.to_json(self)

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Read what `decide` has written to `path`. Raises `DataError` if it is no whole decision."""
        return contract.from_json(cls, path, "decide")


class Judged(Protocol):
    """What a gate found about the model file of digest `sha256`; with `faults` it must not go on."""

    @property
    def sha256(self) -> str | None: ...

    @property
    def faults(self) -> tuple[str, ...]: ...


def require_sound(found: Judged, report: Path, digest: str, gate: str = "evaluate") -> None:
    """Raise `GateFailed` unless `found`, which `gate` has written into `report`, is about the file with `digest`, and without faults."""
    if found.faults:
        raise GateFailed(
            f"the model did not pass {gate} ({'; '.join(found.faults)}), so it is not registered; see {report / 'report.html'}"
        )
    if found.sha256 != digest:
        raise GateFailed(
            f"{report / 'evaluation.json'} judges the model {found.sha256}, the file has sha256 {digest}; run: dvc repro {gate}"
        )


def decision_on(version: str, path: Path) -> Decision:
    """Read the decision at `path`. Raises `DataError` if it is no whole decision, or one on another version than `version`."""
    decision = Decision.from_json(path)
    if decision.challenger != version:
        raise DataError(f"{path} is the decision on version {decision.challenger}, registered is version {version}; run decide again")
    return decision


def require_allowed(decision: Decision, approver: str | None) -> None:
    """Raise `GateFailed` unless the evidence says promote, or asks and `approver` has said yes: nobody promotes past a refusal."""
    if decision.verdict == "promote" or (decision.verdict == "ask" and approver):
        return
    why = "nobody has approved it" if decision.verdict == "ask" else "it was refused"
    raise GateFailed(f"the challenger was not promoted: {why} ({'; '.join(decision.reasons)}). See docs/runbooks/approval-waiting.md")


def record_refusal(run: RunFile, challenger: str, reason: str, actor: str) -> None:
    """Put on record that the `challenger` of `run` was refused by `actor`; the same again adds nothing."""
    from pipelines.lib.records.journal import Journal, Verdict

    verdict = Verdict(run.model.name, run.run_id, run.partition, run.model.champion, challenger, "refused", reason, actor)
    Journal(ledger_url()).record_verdict(verdict)
