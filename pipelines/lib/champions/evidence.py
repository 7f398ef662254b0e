"""Evidence for a promotion, from the files of the stages to the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from pipelines.lib.challengers.decision import Decision, decision_on, require_allowed, require_sound
from pipelines.lib.champions.registry import Registered
from pipelines.lib.core import contract
from pipelines.lib.core.run import RunFile
from pipelines.lib.encoders.evaluation import EncoderEvaluation, read_evaluation


@dataclass(frozen=True)
class Evidence:
    """The `decision` on a model, or the `evaluation` of an encoder; with neither, a person promotes by hand.

    `comparison` holds what `evaluate` compared, which people read; None if there is no such file.
    """

    run_ref: str | None
    decision: Decision | None = None
    evaluation: EncoderEvaluation | None = None
    approver: str = ""
    comparison: tuple[Mapping[str, JsonValue] | None] | None = None

    @property
    def reason(self) -> str | None:
        """The reasons of the decision or the note of the evaluation; None by hand."""
        if self.decision:
            return "; ".join(self.decision.reasons)
        return self.evaluation.note if self.evaluation else None

    def to_json(self) -> dict[str, object]:
        """Return what the ledger keeps: only what is there. Of an older entry nothing but `run_ref` is read again."""
        facts: dict[str, object] = {"run_ref": self.run_ref}
        if self.decision:
            facts["decision"] = asdict(self.decision)
        elif self.evaluation:
            kept = asdict(self.evaluation)
            facts["evaluation"] = {"note": self.evaluation.note} | {
                name: kept[name] for name in ("since", "metrics", "quantization", "comparison")
            }
        else:
            facts["by_hand"] = True
        if self.approver:
            facts["approver"] = self.approver
        if self.comparison:
            [facts["comparison"]] = self.comparison
        return facts


def gather(
    run: RunFile, version: Registered, *, decision: Path | None, evaluation: Path | None, comparison: Path | None, approver: str
) -> Evidence:
    """Gather the evidence for the promotion of `version`.

    Raises `GateFailed` if the decision or the evaluation does not allow it, `DataError` if a file is not whole.
    """
    made, found = None, None
    if decision:
        made = decision_on(version.version, decision)
        require_allowed(made, approver)
    elif evaluation:
        found = read_evaluation(evaluation)
        require_sound(found, evaluation.parent, version.sha256, "evaluate_encoder")
    compared: tuple[Mapping[str, JsonValue] | None] | None = None
    if comparison and comparison.exists():
        adapter: TypeAdapter[dict[str, JsonValue] | None] = TypeAdapter(dict[str, JsonValue] | None)
        compared = (contract.read(adapter, comparison, "comparison", "evaluate"),)
    return Evidence(run.run_ref, made, found, approver, compared)
