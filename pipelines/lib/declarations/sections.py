"""The model of each section of ``params.yaml``, by the module that declares it: a section is checked before its stage runs.

Modules are names, since the library imports no stage. They are imported when a section is checked.
"""

from importlib import import_module

from pipelines.lib.core.params import Section

SECTIONS: dict[str, tuple[str, str]] = {
    "dataset": ("pipelines.lib.tables.dataset", "Dataset"),
    "features": ("pipelines.lib.features.declaration", "Features"),
    "first_run": ("pipelines.lib.declarations.first_nights", "FirstRun"),
    "profile": ("pipelines.lib.models.profile", "ProfileParams"),
    "ingest_history": ("pipelines.data.ingest_history", "IngestHistory"),
    "validate_history": ("pipelines.data.validate_history", "ValidateHistory"),
    "featurize_history": ("pipelines.data.featurize_history", "FeaturizeHistory"),
    "train": ("pipelines.training.train", "Train"),
    "search": ("pipelines.lib.challengers.search", "Search"),
    "export_onnx": ("pipelines.training.export_onnx", "ExportOnnx"),
    "evaluate": ("pipelines.training.evaluate", "Evaluate"),
    "shadow": ("pipelines.training.shadow", "ShadowParams"),
    "decide": ("pipelines.lib.challengers.policy", "Policy"),
    "train_encoder": ("pipelines.training.train_encoder", "TrainEncoder"),
    "quantize": ("pipelines.training.quantize", "Quantize"),
    "evaluate_encoder": ("pipelines.training.evaluate_encoder", "EvaluateEncoder"),
    "registry": ("pipelines.lib.champions.registry", "Registry"),
    "ingest_batch": ("pipelines.data.ingest_batch", "IngestBatch"),
    "validate_batch": ("pipelines.data.validate_batch", "ValidateBatch"),
    "featurize_batch": ("pipelines.data.featurize_batch", "FeaturizeBatch"),
    "validate_features": ("pipelines.data.validate_features", "ValidateFeatures"),
    "score": ("pipelines.scoring.score", "Score"),
    "validate_scores": ("pipelines.scoring.validate_scores", "ValidateScores"),
    "publish_scores": ("pipelines.scoring.publish_scores", "PublishScores"),
    "publish_empty_night": ("pipelines.scoring.publish_empty_night", "PublishEmptyNight"),
    "attach_evidence": ("pipelines.scoring.attach_evidence", "AttachEvidence"),
    "publish_evidence": ("pipelines.scoring.publish_evidence", "PublishEvidence"),
    "govern": ("pipelines.lib.loop.retraining_policy", "Policy"),
    "evaluate_index": ("pipelines.index.evaluate_index", "EvaluateIndex"),
    "publish_index": ("pipelines.index.publish_index", "PublishIndex"),
    "check_index": ("pipelines.monitoring.check_index", "CheckIndex"),
    "nightly_batch_scoring": ("pipelines.lib.core.schedules", "NightlyBatchScoring"),
    "pool": ("pipelines.lib.core.pools", "Pool"),
    "alert": ("pipelines.monitoring.alert", "Alert"),
    "drift_monitoring": ("pipelines.lib.core.schedules", "WithWorkspace"),
    "measure_performance": ("pipelines.monitoring.measure_performance", "MeasurePerformance"),
    "report_drift": ("pipelines.monitoring.report_drift", "ReportDrift"),
    "verify": ("pipelines.registry.verify", "Verify"),
    "drift_triggered_retraining": ("pipelines.lib.core.schedules", "DriftTriggeredRetraining"),
    "encoder_training": ("pipelines.lib.core.schedules", "EncoderTraining"),
    "vector_index_rebuild": ("pipelines.lib.core.schedules", "VectorIndexRebuild"),
    "weekly_index_rebuild": ("pipelines.lib.core.schedules", "Nightly"),
    "champion_rollback": ("pipelines.lib.core.schedules", "Workflow"),
    "index_rollback": ("pipelines.lib.core.schedules", "Workflow"),
    "champion_replay": ("pipelines.lib.core.schedules", "Clock"),
    "shard_history": ("pipelines.index.shard_history", "ShardHistory"),
    "embed": ("pipelines.index.embed", "Embed"),
    "validate_vectors": ("pipelines.index.validate_vectors", "ValidateVectors"),
    "plan_index": ("pipelines.lib.vector_index.params", "PlanIndex"),
    "fill_shard": ("pipelines.index.fill_shard", "FillShard"),
    "build_index": ("pipelines.lib.vector_index.params", "BuildIndex"),
    "detect_drift": ("pipelines.lib.core.params", "Section"),
}
"""Section: module and class."""


def model_of(section: str) -> type[Section]:
    """Return the model of `section`. Raises `KeyError` for one that there is not."""
    module, name = SECTIONS[section]
    model: type[Section] = getattr(import_module(module), name)
    return model
