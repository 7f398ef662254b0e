"""Score a night's features with the pinned model.

Reads   data/features/batch.parquet, the report of its gate, the model that run.yaml pins
Writes  data/scores/scores.parquet: the key columns, score, of a binary label decision; the same rows in the same order
Fails   when the gate did not pass, or the model is missing, altered, made for other features, or gives a score that is not a number
"""

import sys
from pathlib import Path

from pydantic import Field

from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.stage import log, stage
from pipelines.lib.models.decision_rule import DecisionRule, decide_within_budget
from pipelines.lib.tables.dataset import TaskName


class Score(Section):
    """`threshold`: when `decision` is true; a number is the score from which it is. `threads`: workers; null takes every core that this process may use.

    `order_by`: a feature in whose order batches are computed, which changes how long it takes and nothing else; null for none.
    """

    threshold: DecisionRule
    threads: int | None = Field(default=None, ge=1)
    order_by: str | None = None


def score(features: Path, model: Path, scores: Path, *, sha256: str | None, key: tuple[str, ...], params: Score, task: TaskName) -> int:
    """Score the file `features` into `scores`, whole or not at all, with the model whose digest is `sha256`, for a label of `task`. Returns the rows."""
    from pipelines.lib.core.atomic import replacing
    from pipelines.lib.models.inference import load_model, require_task, score_parquet

    verified = load_model(model, sha256)
    require_task(verified, task, model)
    rule = params.threshold
    with replacing(scores) as temporary:
        rows = score_parquet(
            verified, features, temporary, key=key, threshold=rule.fixed or 0.0, threads=params.threads, order_by=params.order_by
        )
        if rule.fixed is None and verified.task.decides:
            decide_within_budget(temporary, rule)
        return rows


@stage("score")
def main(*, features: Path, gate: Path, model: Path, scores: Path) -> None:
    """Score as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.core.reports import VERDICT, require_passed
    from pipelines.lib.core.run import load_run
    from pipelines.lib.tables.dataset import load_dataset

    run, params = load_run(), load_section("score", Score)
    require_passed(gate / VERDICT, "validate_features", run.partition)
    dataset = load_dataset()
    rows = score(features, model, scores, sha256=run.model.sha256, key=dataset.key, params=params, task=dataset.label.task)
    log.info("%d rows scored with %s version %s", rows, run.model.name, run.model.version or "of this workspace")


if __name__ == "__main__":
    sys.exit(main())
