"""What `evaluate` and `decide` have said of a challenger, read back by the stages behind them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.lib.core.errors import DataError, GateFailed
from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.run import RunFile


def require_sound(report: Path, digest: str, gate: str = "evaluate") -> dict[str, Any]:
    """The evaluation that `gate` has written to `report`. Raises `GateFailed` unless it is one of the model with `digest`, and without faults."""
    path = report / "evaluation.json"
    try:
        evaluation = dict(json.loads(path.read_text(encoding="utf-8")))
        faults, evaluated = list(evaluation["faults"]), evaluation.get("sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GateFailed(
            f"{path} is no evaluation ({type(error).__name__}: {error}), so nothing is registered; run: dvc repro {gate}"
        ) from None
    if faults:
        raise GateFailed(
            f"the model did not pass {gate} ({'; '.join(map(str, faults))}), so it is not registered; see {report / 'report.html'}"
        )
    if evaluated != digest:
        raise GateFailed(f"{path} judges the model {evaluated}, the file has sha256 {digest}; run: dvc repro {gate}")
    return evaluation


def read_decision(path: Path) -> dict[str, Any]:
    """What `decide` has written to `path`: at least ``verdict`` (promote, refuse or ask) and ``reasons``, sentences.

    Raises `DataError` where it is no whole decision.
    """
    try:
        decision = json.loads(path.read_text(encoding="utf-8"))
        known = decision["verdict"] in ("promote", "refuse", "ask") and all(isinstance(reason, str) for reason in decision["reasons"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no decision ({type(error).__name__}: {error}); run decide first") from None
    if not known:
        raise DataError(
            f"{path} holds the verdict {decision['verdict']!r}, which must be promote, refuse or ask with reasons in words; run decide again"
        )
    return dict(decision)


def require_allowed(decision: Mapping[str, Any], approver: str | None) -> None:
    """Raise `GateFailed` unless the evidence says promote, or asks and `approver` has said yes: nobody promotes past a refusal."""
    if decision["verdict"] == "promote" or (decision["verdict"] == "ask" and approver):
        return
    why = "nobody has approved it" if decision["verdict"] == "ask" else "it was refused"
    raise GateFailed(f"the challenger was not promoted: {why} ({'; '.join(decision['reasons'])}). See docs/runbooks/approval-waiting.md")


def record_refusal(run: RunFile, challenger: str, reason: str, actor: str) -> None:
    """Put on record that the `challenger` of `run` was refused by `actor`; the same again adds nothing."""
    from pipelines.lib.records.journal import Journal, Verdict

    verdict = Verdict(run.model.name, run.run_id, run.partition, run.model.champion, challenger, "refused", reason, actor)
    Journal(ledger_url()).record_verdict(verdict)
