"""How a model scores: ONNX only, verified by digest, and from Parquet to Parquet in a stream.

Reading, computing and writing overlap. One thread reads and one writes; `threads` workers each fill a preallocated row-major
float32 matrix column by column (``np.column_stack`` alone takes as long as the forest) and run a one-thread ONNX Runtime
session on blocks that stay in cache. The order of rows is kept, only a few batches are ever held, and the bytes written
depend neither on the number of threads nor on how the input was cut into row groups.

A forest spends its time on branches that the processor guesses wrong. Rows that resemble each other take the same branches, so a batch may be
scored in the order of one feature and put back: see `score_parquet`.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.features.signature import KEY, Signature, signature_of_features
from pipelines.lib.measures import categories
from pipelines.lib.measures.categories import Categories
from pipelines.lib.measures.tasks import BINARY, TASKS, Task
from pipelines.lib.measures.tasks import KEY as TASK_KEY
from pipelines.lib.models.onnx_file import has_trees, parse_model, read_verified
from pipelines.lib.models.profile import KEY as PROFILE_KEY
from pipelines.lib.models.profile import Profile
from pipelines.lib.models.scores_file import scores_writer
from pipelines.lib.tables.dataset import TaskName

if TYPE_CHECKING:
    import onnxruntime

BATCH_ROWS = 65_536
"""Rows read, scored and written at a time, and so the row-group size of the output: 6 MiB of 22 features."""

RUN_ROWS = 8_192
"""Rows a ``session.run``: a block of 22 features (0.7 MiB) stays in a core's cache; 4,096 to 65,536 measure about alike."""

Matrix = NDArray[np.float32]
ONE = np.float32(1)


@dataclass(frozen=True)
class Model:
    """A verified model, ready to run in any number of threads at once (the session itself uses the caller's alone)."""

    session: "onnxruntime.InferenceSession"
    signature: Signature
    sha256: str
    profile: Profile | None = None
    """The rows that it learned from; None for a model that was exported before there were profiles."""
    categories: Categories = field(default_factory=dict)
    """The categories of each feature that is text in a features file, in the order of their codes."""

    task: Task = BINARY
    has_trees: bool = True

    def score(self, matrix: Matrix) -> Matrix:
        """Return the probability of the positive class or, of a regression, the forecast for each row: float32 [n, f] -> float32 [n]."""
        answers: Matrix = self.session.run([self.task.output], {"features": matrix})[0]
        if self.task is not BINARY:
            return np.ascontiguousarray(answers[:, 0])
        return np.minimum(answers[:, 1], ONE)  # the votes of a forest that is quite sure add up to 1.0000001


def load_model(path: Path, sha256: str | None = None) -> Model:
    """Return the model at `path`, as `open_session` opens it. Raises `ModelError` also when its outputs are not those of an exported
    Nightshift model.
    """
    session, signature, found, trees = open_session(path, sha256)
    outputs = {value.name: (value.type, len(value.shape)) for value in session.get_outputs()}
    metadata = session.get_modelmeta().custom_metadata_map
    if (named := metadata.get(TASK_KEY, BINARY.name)) not in TASKS:
        raise ModelError(f"the model {path} is for the task {named!r}; this Nightshift knows {', '.join(TASKS)}: update it")
    task = TASKS[named]
    if outputs.get(task.output) != ("tensor(float)", 2):
        raise ModelError(
            f"the model {path} gives {outputs}; it must give {task.output!r}, float [n, {task.columns}]: export it with export_onnx, zipmap off"
        )
    lists = categories.from_json(metadata.get(categories.KEY))
    return Model(session, signature, found, _profile(metadata.get(PROFILE_KEY), path), lists, task, trees)


class Opened(NamedTuple):
    """A session of one thread on an ONNX file, the features that the file takes, its digest, and whether it has trees."""

    session: "onnxruntime.InferenceSession"
    signature: Signature
    sha256: str
    has_trees: bool


def open_session(path: Path, sha256: str | None = None) -> Opened:
    """Open the ONNX file at `path`.

    The digest must be `sha256` unless that is None (a laptop's own model, not registered). The bytes that are hashed are the bytes that are run: the file is read
    once. Raises `ModelError` when the file is missing, altered or torn, needs any other file, or does not take features.
    """
    import onnxruntime  # takes as long as all sections of params.yaml, which a run checks when it opens

    content, found = read_verified(path, sha256)
    parsed = parse_model(content, path)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what was checked, not what the bytes also look like
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors are raised; warnings of the optimiser do not help the person on call
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        raise ModelError(f"the model {path} ({len(content)} bytes) is not a whole ONNX model: {error}; export it again") from None
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise ModelError(f"the model {path} does not say which features it takes (no {KEY!r} in its metadata); export it with export_onnx")
    signature = Signature.from_json(metadata[KEY])
    inputs = {value.name: (value.type, value.shape[-1]) for value in session.get_inputs()}
    if inputs != {"features": ("tensor(float)", len(signature.names))}:
        raise ModelError(f"the model {path} takes {inputs}; it must take one input 'features', float [n, {len(signature.names)}]")
    return Opened(session, signature, found, has_trees(parsed))


def _profile(text: str | None, path: Path) -> Profile | None:
    try:
        return None if text is None else Profile.from_json(text)
    except ModelError as error:
        raise ModelError(f"the model {path}: {error}") from None


class HasSignature(Protocol):
    """A model or an encoder: it says which features it takes."""

    @property
    def signature(self) -> Signature: ...


def check_fit(model: HasSignature, signature: Signature) -> None:
    """Raise `ModelError` unless the model takes exactly the features that were `signature`: names, order and declaration."""
    wanted = model.signature
    if wanted == signature:
        return
    missing, unknown = sorted(set(wanted.names) - set(signature.names)), sorted(set(signature.names) - set(wanted.names))
    raise ModelError(
        f"the model takes {len(wanted.names)} features of declaration {wanted.sha256[:12]}, there are {len(signature.names)} of {signature.sha256[:12]} "
        f"(missing: {missing or 'none'}; unknown to the model: {unknown or 'none'}); train a model on these features, or restore its declaration"
    )


def require_task(model: Model, task: TaskName, path: Path) -> None:
    """Raise `ModelError` unless `model`, read from `path`, is for a label of `task`."""
    if model.task.name != task:
        raise ModelError(
            f"the model {path} is for a label of task {model.task.name}, but dataset.label.task is {task}; train a model for it"
        )


def score_parquet(
    model: Model,
    features: Path,
    scores: Path,
    *,
    key: tuple[str, ...],
    threshold: float,
    threads: int | None = None,
    order_by: str | None = None,
) -> int:
    """Score every row of the file `features` into the file `scores`: columns `key`, `score` float32, and of a binary label `decision` bool. Returns the rows.

    `decision` is score >= `threshold`, compared in float32. `threads` is by default the cores this process may use. `order_by` names a
    feature in whose order each batch is computed (not written): the same scores, sooner where the input's order is a random one. It has no effect on a model
    without trees, which has no branches to guess.
    Memory is bounded by a few batches and by one compressed row group of the input, however many rows there are.
    Raises `ModelError` when the model was made for other features or gives a score that is not finite, `DataError` when
    the file is torn, or a column is missing, of the wrong type or has nulls.
    """
    threads = threads or cores()
    if order_by is not None and order_by not in model.signature.names:
        raise ConfigError(f"score.order_by is {order_by!r}, which is not a feature; the features are {', '.join(model.signature.names)}")
    with open_features(features) as file:
        check_fit(model, signature_of_features(features))
        check_columns(file.schema_arrow, model.signature.names, key, features, model.categories)
        schema = output_schema(file.schema_arrow, key, model.task)
        columns = list(dict.fromkeys([*key, *model.signature.names]))
        matrices: SimpleQueue[Matrix] = SimpleQueue()
        for _ in range(threads):
            matrices.put(np.empty((RUN_ROWS, len(model.signature.names)), dtype=np.float32))

        def score(batch: pa.RecordBatch) -> pa.RecordBatch:
            matrix = matrices.get()
            try:
                values = _score_batch(model, batch, matrix, order_by)
            finally:
                matrices.put(matrix)
            # Buffers and DLPack, since pa.array() of a NumPy array and to_numpy() import pandas: 0.9 s of every night.
            outputs = [pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values)])]
            if model.task.decides:
                decisions = np.packbits(values >= np.float32(threshold), bitorder="little")
                outputs.append(pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(decisions)]))
            return pa.record_batch([*(batch.column(name) for name in key), *outputs], schema=schema)

        rows = 0
        pending: deque[Future[None]] = deque()
        # The file is closed last, when nobody writes any more: also after an error.
        with scores_writer(scores, schema) as writer, ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as pen:

            def write(scored: Future[pa.RecordBatch]) -> None:
                writer.write_batch(scored.result())

            for batch in read_batches(file, columns, features):
                rows += batch.num_rows
                pending.append(pen.submit(write, pool.submit(score, batch)))
                if len(pending) > 2 * threads:
                    pending.popleft().result()
            while pending:
                pending.popleft().result()
        return rows


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def feature_columns(batch: pa.RecordBatch | pa.Table, names: Sequence[str], lists: Categories) -> list[NDArray[Any]]:
    """Return the features `names` of `batch`, each [n], without a copy; those with one of `lists` as its codes. Raises `DataError` if a number is null."""
    if holes := [name for name in names if batch.column(name).null_count and name not in lists]:
        raise DataError(f"the features {', '.join(holes)} have nulls; every missing value must be filled in the declaration of features")
    return [categories.codes(batch.column(name), lists[name]) if name in lists else _values(batch.column(name)) for name in names]


def _values(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    return np.from_dlpack(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def _score_batch(model: Model, batch: pa.RecordBatch, matrix: Matrix, order_by: str | None) -> Matrix:
    columns = feature_columns(batch, model.signature.names, model.categories)
    values = np.empty(batch.num_rows, dtype=np.float32)
    order = None if order_by is None or not model.has_trees else np.argsort(columns[model.signature.names.index(order_by)])
    for start in range(0, batch.num_rows, RUN_ROWS):
        rows = slice(start, min(start + RUN_ROWS, batch.num_rows)) if order is None else order[start : start + RUN_ROWS]
        block = matrix[: min(RUN_ROWS, batch.num_rows - start)]
        for index, column in enumerate(columns):
            block[:, index] = column[rows]
        values[rows] = model.score(block)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ModelError(f"the model gives the score {values[row]} for the row {batch.slice(row, 1).to_pylist()[0]}; do not promote it")
    return values


def read_batches(file: pq.ParquetFile, columns: list[str], path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the `columns` of `file`, which is at `path`, in batches of `BATCH_ROWS`. Raises `DataError` if it is torn."""
    try:  # batches of BATCH_ROWS, for row groups of any size
        yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read to its end: {error}; it is torn, make it again with `dvc repro`") from None


def open_features(path: Path) -> pq.ParquetFile:
    """Return the Parquet file at `path`, to be streamed with its pages verified. Raises `DataError` if it is missing or torn."""
    try:
        # Pre-buffering would hold every row group that was read until the file is closed: 10 times the rows, 10 times the memory.
        return pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a whole Parquet file: {error}; make it again with `dvc repro`") from None


def check_columns(schema: pa.Schema, names: Sequence[str], others: Sequence[str], path: Path, lists: Categories) -> None:
    """Raise `DataError` unless the features file at `path`, of `schema`, has the features `names` in float32, those of `lists` as text, and the
    columns `others`.
    """
    absent = [name for name in (*others, *names) if name not in schema.names]
    if absent:
        raise DataError(f"{path} has no column {', '.join(absent)}; it has {', '.join(schema.names)}. Make it again with featurize")
    kinds = {name: schema.field(name).type for name in names}
    if unlisted := [name for name, kind in kinds.items() if kind == pa.string() and name not in lists]:
        raise ModelError(
            f"the model carries no list of categories for {', '.join(unlisted)}, which is text in {path}; train and export it again"
        )
    wrong = {
        wanted: [f"{name} ({kind})" for name, kind in kinds.items() if (name in lists) == (wanted == pa.string()) and kind != wanted]
        for wanted in (pa.float32(), pa.string())
    }
    for wanted, found in wrong.items():
        if found:
            raise DataError(
                f"{path} has features that are not {'float32' if wanted == pa.float32() else 'text'}: {', '.join(found)}. Make it again with featurize"
            )


def output_schema(schema: pa.Schema, key: tuple[str, ...], task: Task) -> pa.Schema:
    """Return the columns of a scores file, for features of `schema`."""
    decision = [pa.field("decision", pa.bool_())] if task.decides else []
    return pa.schema([*(schema.field(name) for name in key), pa.field("score", pa.float32()), *decision])
