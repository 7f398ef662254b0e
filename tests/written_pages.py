"""Every kind of page, written by the stages themselves: of orders a night, a training and an index; a retraining, a replay, a watched month, the demo's page."""

import datetime as dt
import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import yaml
from jinja2 import Environment
from nightshift_airflow import frame, links, navigation, runbooks

from deploy.embedded.nights import Night, gate_verdict, pages_of
from deploy.embedded.report import write_report
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.pages.html import render
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.vector_index import publication
from pipelines.registry.replay import conclude, replay
from tests import watched_model
from tests.datasets import orders
from tests.pipelines.registry.test_register import TAGS
from tests.pipelines.training.test_decide import Retraining
from tests.registered_models import copy_template, make_template
from tests.training_line import make_line

TRAINED, RETRAINED = "2024-03-15", "2024-04-15"
NIGHTS, NAME, INDEX = "nightly_batch_scoring", "orders_model", "orders_encoder"
TRAINING = ("ingest_history", "validate_history", "featurize_history", "train", "export_onnx", "evaluate")
ENCODER = ("train_encoder", "quantize", "evaluate_encoder")
NIGHT = ("ingest_batch", "validate_batch", "featurize_batch", "validate_features", "score", "validate_scores")
BUILD = ("shard_history", "embed", "validate_vectors", "plan_index", "fill_shard", "build_index", "evaluate_index")

DOCUMENTS = {
    f"{kind}_{path.stem}": (kind, path.stem)
    for kind, folders in runbooks.FOLDERS.items()
    for folder in folders
    for path in sorted((REPOSITORY / folder).glob("*.md"))
}
"""By name of its page: each document that the UI shows, as its kind and name."""


class Workspace:
    """The working directory `root`, in which stages of ``dvc.yaml`` run in this process on the orders; `pages` collects what they write."""

    def __init__(self, root: Path, pages: Path) -> None:
        self.root, self.pages = root, pages
        self.stages = parse_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        orders.prepare(root)
        params = parse_yaml((root / "params.yaml").read_text(encoding="utf-8"))
        params["attach_evidence"]["riskiest"] = 4  # each has a table of its own, in which axe-core looks at every cell
        (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        self.pinned: dict[str, Any] = {
            "partition": TRAINED,
            "model": {"path": "data/models/model.onnx", "name": NAME},
            "encoder": {"path": "data/encoder/encoder.onnx", "name": INDEX, "sha256": None},
            "shards": ["2024-01", "2024-02", "2024-03"],
            "index": None,
            "rebuild": "auto",
        }

    def pin(self, **changes: Any) -> None:
        """Change keys of ``run.yaml``."""
        self.pinned |= changes
        (self.root / "run.yaml").write_text(yaml.safe_dump(self.pinned), encoding="utf-8")

    def run(self, *stages: str, fails: bool = False) -> None:
        """Run `stages`; each must end well, or `fails`."""
        for name in stages:
            stage = self.stages[name]
            for month in self.pinned["shards"] if "matrix" in stage else [""]:
                values = {"item.month": month}
                command = re.sub(
                    r"\$\{([a-z.]+)\}", lambda match, values=values: values.get(match[1]) or self._value(match[1]), stage["cmd"]
                )
                _, _, module, *arguments = command.split()
                assert import_module(module).main(arguments) == int(fails), name

    def keep(self, stage: str, name: str | None = None) -> None:
        """Keep the page of `stage` as `name`."""
        shutil.copy(self.root / "data" / "reports" / stage / "report.html", self.pages / f"{name or stage}.html")

    def _value(self, dotted: str) -> str:
        value: Any = self.pinned
        for part in dotted.split("."):
            value = value[part]
        return str(value)


TEMPLATES = REPOSITORY / "pipelines" / "lib" / "pages" / "templates"


def page_templates() -> set[str]:
    """Return the names of the templates of pages. Those that no page is made of alone, such as the macros, extend nothing."""
    return {path.name for path in TEMPLATES.glob("*.html") if "{% extends" in path.read_text(encoding="utf-8")}


def note_templates(patch: pytest.MonkeyPatch) -> set[str]:
    """Return a set to which each template is added when a page is made of it from now on."""
    used: set[str] = set()
    get_template = Environment.get_template

    def noted(self: Environment, name: Any, *arguments: Any, **keywords: Any) -> Any:
        used.add(str(name))
        return get_template(self, name, *arguments, **keywords)

    patch.setattr(Environment, "get_template", noted)
    return used


def write_pages(scratch: Path, patch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Write every kind of page below `scratch`; return the pages by name. The working directory and the home become other ones."""
    pages = scratch / "pages"
    pages.mkdir(parents=True)
    for name in ("MLFLOW_TRACKING_URI", "NIGHTSHIFT_LEDGER_URL", "NIGHTSHIFT_PUBLISHED_URL", "NIGHTSHIFT_INDEX_DIR"):
        patch.delenv(name, raising=False)
    patch.setattr(links, "_base_url", lambda: "http://night.example:8080")
    _orders(scratch, pages, patch)
    _retraining(scratch, pages, patch)
    _replayed(scratch, pages, patch)
    _watched(scratch, pages, patch)
    return {path.stem: path for path in sorted(pages.glob("*.html"))}


def _orders(scratch: Path, pages: Path, patch: pytest.MonkeyPatch) -> None:
    """Train, encode, score, index; publish and attach evidence; train again with a champion in place; meet half a night."""
    home, root = scratch / "home", scratch / "orders"
    root.mkdir()
    patch.setenv("NIGHTSHIFT_HOME", str(home))
    patch.chdir(root)
    workspace = Workspace(root, pages)
    workspace.pin()
    workspace.run(*TRAINING, *ENCODER, *NIGHT, *BUILD)
    written = ("validate_history", "evaluate", "quantize", "evaluate_encoder", "validate_batch", "validate_features", "validate_scores")
    for stage in (*written, "validate_vectors", "evaluate_index"):
        workspace.keep(stage)
    encoder = Path("data/encoder/encoder.onnx")
    manifest = {"partition": TRAINED, "encoder_name": INDEX, "encoder_version": "1", "encoder_sha256": sha256_of(encoder)}
    pointer = publication.publish(INDEX, Path("data/index/build"), encoder, manifest, expected_sequence=0, retain=3)
    fields = ("generation", "manifest_sha256", "partition", "encoder_version", "sequence")
    pinned = {field: getattr(pointer, field) for field in fields} | {"name": INDEX, "encoder_sha256": manifest["encoder_sha256"]}
    workspace.pin(index=pinned)
    workspace.run("attach_evidence")
    workspace.keep("attach_evidence")
    _demo(home, pages, pointer.generation)
    _served(home, pages)

    Path("data/champion").mkdir()
    champion = Path(shutil.copy("data/models/model.onnx", "data/champion/model.onnx"))
    model = {"path": str(champion), "name": NAME, "version": "1", "sha256": sha256_of(champion)}
    workspace.pin(partition=RETRAINED, model=model)
    workspace.run(*TRAINING)
    workspace.keep("evaluate", "evaluate_with_champion")
    half = dt.datetime.fromisoformat(f"{RETRAINED}T10:00:00")
    whole = orders.orders()
    orders.write(whole.filter(pc.less(whole["placed_at"], half)), root / "orders.parquet")
    workspace.run("ingest_batch")
    workspace.run("validate_batch", fails=True)
    workspace.keep("validate_batch", "validate_batch_failed")


def _demo(home: Path, pages: Path, generation: str) -> None:
    """Publish the night, keep its pages as a run's, and write the page of the demo."""
    run = home / "reports" / NIGHTS / "run"
    shutil.copytree("data/reports", run)
    opened = {
        "run_id": "run",
        "partition": TRAINED,
        "opened_at": f"{TRAINED}T02:00:00",
        "tasks": NIGHT,
        "model": {"name": NAME, "version": "1"},
    }
    (run / "run.json").write_text(json.dumps(opened))
    rows = json.loads(Path("data/reports/validate_scores/verdict.json").read_text())["rows"]
    sha256 = sha256_of(Path("data/models/model.onnx"))
    lineage = Lineage(TRAINED, NAME, "1", sha256, "run", "refs/runs/one", "c" * 40, False, dt.datetime(2024, 3, 15, 2, tzinfo=dt.UTC))
    publish(Path("data/scores/scores.parquet"), lineage, expected_rows=rows)
    reports = {path.parent.name: json.loads(path.read_text()) for path in sorted(run.glob("validate_*/report.json"))}
    spans = (("ingest_batch", 0.0, 2.0), ("score", 2.5, 6.0), ("publish_scores", 9.0, 1.0))
    night = Night(
        partition=TRAINED,
        run_id="run",
        state="success",
        rows=rows,
        model_name=NAME,
        model_version="1",
        model_sha256=sha256,
        degraded=False,
        expected_rate=0.2,
        duration_s=10.0,
        tasks={task: seconds for task, _, seconds in spans},
        spans=spans,
        gates={gate: gate_verdict(report) for gate, report in reports.items()},
        reports=reports,
        decision="not judged: not enough data: 1 of 5 nights",
        pages=pages_of(NIGHTS, "run"),
    )
    write_report([night], pages / "nights.html", {"name": INDEX, "encoder_version": "1", "generation": generation, "count": 1})


def _served(home: Path, pages: Path) -> None:
    """Write the pages that the plugin serves: the list of runs, a report below its bar, and each document."""
    runs = navigation.opened_runs(NIGHTS)
    bar = navigation.of_report(home / "reports" / NIGHTS / "run", "attach_evidence", {NIGHTS})
    served = {
        "list_of_runs": navigation.put_around(
            frame.list_of_runs(
                runs, {"churn": "use_cases/churn/params.yaml has the unknown section 'trian'; write train"}, ["flights", "fraud"], "fraud"
            ),
            bar,
        ),
        "report_with_bar": navigation.put_around((pages / "attach_evidence.html").read_text(encoding="utf-8"), bar),
    }
    for page, (kind, name) in DOCUMENTS.items():
        title, content = runbooks.render(name, kind)
        served[page] = navigation.put_around(frame.frame(title, f"<article>{content}</article>"), bar)
    for name, page in served.items():
        (pages / f"{name}.html").write_text(page, encoding="utf-8")


def _retraining(scratch: Path, pages: Path, patch: pytest.MonkeyPatch) -> None:
    """Decide on a challenger and shadow the champion with it; then its card as `register` writes it, from the orders' evaluation."""
    from pipelines.lib.challengers import model_card
    from pipelines.lib.challengers.evaluation import read_evaluation
    from pipelines.training import shadow

    evaluation = read_evaluation(scratch / "orders" / "data" / "reports" / "evaluate" / "evaluation.json")
    make_template(scratch / "template")
    installation = copy_template(scratch / "template", scratch / "installation", patch)
    retraining = Retraining(installation)
    retraining.decide()
    shutil.copy("data/reports/decide/report.html", pages / "decide.html")
    installation.publish()
    assert shadow.main([]) == 0
    shutil.copy("data/reports/shadow/report.html", pages / "shadow.html")
    (pages / "model_card.html").write_text(
        model_card.render(evaluation, lineage=TAGS, facts={"version": "2", "latency_p50_us": 20.0}), encoding="utf-8"
    )


def _replayed(scratch: Path, pages: Path, patch: pytest.MonkeyPatch) -> None:
    """Rebuild a version that comes out the same, then one whose recorded bytes are others; the pages are made as `replay` makes them."""
    line = make_line(scratch / "line")
    with patch.context() as own:
        own.setenv("NIGHTSHIFT_REPOSITORY", str(line.path))
        own.delenv("NIGHTSHIFT_DVC_CACHE", raising=False)
        for name, tags in (("replay", line.tags), ("replay_different", {**line.tags, "sha256": "f" * 64})):
            (scratch / name).mkdir()
            result = replay(tags, line.metrics, scratch / name)
            facts = {"name": NAME, "version": "1", "run_ref": tags["run_ref"], "partition": tags["partition"], **result}
            page = render("replay.html", **facts, note=conclude(NAME, "1", result))
            (pages / f"{name}.html").write_text(page, encoding="utf-8")


def _watched(scratch: Path, pages: Path, patch: pytest.MonkeyPatch) -> None:
    """Report the drift of a night on which the most important column has moved, and of one with too little to judge."""
    from pipelines.lib.loop import drift_report
    from pipelines.monitoring import report_drift

    root = scratch / "watched"
    root.mkdir()
    patch.setenv("NIGHTSHIFT_HOME", str(root / "home"))
    patch.chdir(root)
    watched_model.record(root)
    watched_model.pin()
    assert report_drift.main([]) == 0
    shutil.copy("data/reports/report_drift/report.html", pages / "report_drift.html")
    recorded, profile = watched_model.seen(watched_model.nights(number=3)), watched_model.profile()
    report = drift_report.build_report(recorded, profile, watched_model.POLICY)
    (pages / "report_drift_not_judged.html").write_text(drift_report.page(report, recorded, profile, "late"), encoding="utf-8")
