"""Show the rows of the past that resemble a row, and how they ended, as a table.

Reads   the published generation of the index; the published scores and, for a row that is not in the index, the features file of its night's run
Writes  nothing but the table, to its standard output
Fails   when no generation is published, or its files are not whole; when the key names no row that is indexed or published; when more rows are
        asked for than the index has; when the night's features are not those of the generation's encoder

By hand, from the root of the repository: ``python -m pipelines.index.search --key UA,1545,EWR,2013-01-01T05:15:00 --top 5`` (the values in the order of
dataset.key), or ``--last-night --top 5`` for the riskiest rows of the newest published night.
"""

import csv
import datetime as dt
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.encoders.encoder import encode_features
from pipelines.lib.published import nights
from pipelines.lib.sources.casts import ARROW_TYPES
from pipelines.lib.tables.dataset import Dataset, load_dataset
from pipelines.lib.vector_index.evidence import widely
from pipelines.lib.vector_index.reader import VectorIndex, open_generation

Key = tuple[Any, ...]


def search(index: VectorIndex, vectors: np.ndarray, own: Sequence[int | None], k: int) -> list[pa.Table]:
    """Return the `k` rows of `index` nearest to each of `vectors` [m, d], a table each: the index's columns and `distance` (cosine), nearest first.

    As widely as evidence is searched for, but among all rows. `own` [m] are the rows that the vectors themselves have in the index, which are left out
    (None: it has none). An IVF-PQ may find fewer than `k`. Raises `ConfigError` if the index has fewer than `k` others.
    """
    others = index.count - any(row is not None for row in own)
    if not 1 <= k <= others:
        raise ConfigError(f"{k} similar rows were asked for, the index has {others}; ask for 1 to {others}")
    answers = []
    for row, far, near in zip(own, *index.search(vectors, min(k + 1, index.count), setting=widely(index)), strict=True):
        kept = np.flatnonzero((near >= 0) & (near != (-1 if row is None else row)))[:k]
        answers.append(index.rows(near[kept]).append_column("distance", pa.array(far[kept])))
    return answers


def parse_key(text: str, dataset: Dataset) -> Key:
    """Return the values of a key that is written with commas. Raises `ConfigError` if they are not those of `dataset.key`."""
    values = next(csv.reader([text]), [])
    if len(values) != len(dataset.key):
        raise ConfigError(f"--key is {text!r}, {len(values)} values; write {len(dataset.key)} with commas: {','.join(dataset.key)}")
    parsed = []
    for name, value in zip(dataset.key, values, strict=True):
        kind = dataset.columns[name].type
        try:
            moment = dt.datetime.fromisoformat(value.strip()) if dataset.columns[name].zone else None
            if moment is not None and moment.tzinfo is None:
                raise ConfigError(
                    f"--key has {value!r} for {name}, a time without a zone; write its offset from UTC too, such as 2013-03-01T05:15:00+01:00"
                )
            parsed.append(pa.scalar(value.strip()).cast(ARROW_TYPES[kind]).as_py() if moment is None else moment.astimezone(dt.UTC))
        except (pa.ArrowInvalid, ValueError) as error:
            raise ConfigError(
                f"--key has {value!r} for {name}, which is of type {kind} ({error}); a time is written 2013-03-01T05:15:00"
            ) from None
    return tuple(parsed)


def published_row(key: Key, dataset: Dataset) -> tuple[str, dict[Key, float]]:
    """Return the ref of the run that published the row of this `key`, and its score. Raises `ConfigError` if there is none."""
    from pipelines.lib.published.delta_tables import read_where

    try:
        found = read_where(dict(zip(dataset.key, key, strict=True)), columns=["run_ref", "score"]).to_pylist()
    except ConfigError:  # nothing was ever published
        found = []
    if not found:
        shown = ", ".join(map(str, key))
        raise ConfigError(f"no row {shown} is in the index or published; a key has the values of {', '.join(dataset.key)}, in this order")
    return found[0]["run_ref"], {key: found[0]["score"]}


def encode(index: VectorIndex, keys: Sequence[Key], run_ref: str, dataset: Dataset) -> np.ndarray:
    """Encode the rows `keys` of a published night with the generation's own encoder, from the features that the night's run recorded."""
    vectors: dict[Key, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        features = Path(scratch) / "features.parquet"
        nights.fetch(run_ref, nights.FEATURES, features)
        for batch, encoded in encode_features(index.encoder, features, dataset.key):
            places = {tuple(row.values()): place for place, row in enumerate(batch.to_pylist())}
            vectors |= {key: encoded[places[key]] for key in keys if key in places}
    if missing := [key for key in keys if key not in vectors]:
        raise ConfigError(f"{run_ref} has no features of {missing[0]}; the night was published by another run: score it again")
    return np.stack([vectors[key] for key in keys])


def riskiest(dataset: Dataset, top: int) -> tuple[str, dict[Key, float]]:
    """Return the ref of the run of the newest published night, and the scores of its `top` highest-scored rows by key."""
    from pipelines.lib.published.delta_tables import read_scores

    newest = nights.published_nights(load_registry().name, until="9999-12-31", count=1)
    if not newest:
        raise ConfigError("no night is published yet; run nightly_batch_scoring (make demo does)")
    scores = read_scores(newest[0].partition, columns=[*dataset.key, "score"])
    order = pc.sort_indices(scores, sort_keys=[("score", "descending"), *((name, "ascending") for name in dataset.key)])
    rows = scores.take(order[:top]).to_pylist()
    return newest[0].run_ref, {tuple(row[name] for name in dataset.key): row["score"] for row in rows}


def table(answer: pa.Table, dataset: Dataset) -> str:
    """Return `answer` as text: a line for each row, then how many of them ended as the label says."""
    outcomes = answer["outcome"].to_pylist()
    columns = {"distance": [f"{value:.5f}" for value in answer["distance"].to_pylist()]}
    columns |= {name: [str(value) for value in answer[name].to_pylist()] for name in dataset.key}
    numbers = dataset.label.task == "regression"
    columns[dataset.label.name] = [f"{value:g}" if numbers else "yes" if value == 1 else "no" for value in outcomes]
    widths = {name: max(map(len, [name, *values])) for name, values in columns.items()}
    lines = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    shown = [f"{rank or '':>4}  " + "  ".join(map(str.ljust, line, widths.values())).rstrip() for rank, line in enumerate(lines)]
    if numbers:
        return "\n".join([*shown, f"      {dataset.label.name}: {sum(outcomes) / max(1, len(outcomes)):g} on average of {len(outcomes)}"])
    share = f" ({outcomes.count(1) / len(outcomes):.0%})" if outcomes else ""
    return "\n".join([*shown, f"      {dataset.label.name}: {outcomes.count(1)} of {len(outcomes)}{share}"])


@stage.stage("search")
def main(
    *,
    key: Annotated[str | None, "the row whose neighbours to show: its values in the order of dataset.key, with commas between them"] = None,
    last_night: Annotated[bool, "the riskiest rows of the newest published night, each with its neighbours"] = False,
    top: Annotated[int, "how many: neighbours of --key, or rows of --last-night"] = 5,
    neighbours: Annotated[int, "how many neighbours each row of --last-night is shown with"] = 10,
) -> None:
    if bool(key) == last_night or top < 1:
        raise ConfigError("say either --key, with values and commas between them, or --last-night, and a --top of 1 or more")
    dataset, k = load_dataset(), top if key else neighbours
    run_ref, asked = ("", {parse_key(key, dataset): None}) if key else riskiest(dataset, top)
    with open_generation(load_registry().encoder) as index:
        own = [index.find(key) for key in asked]
        if key and own[0] is not None:
            vectors = index.vector(own[0])[None, :]
        else:
            run_ref, asked = (run_ref, asked) if run_ref else published_row(next(iter(asked)), dataset)
            vectors = encode(index, list(asked), run_ref, dataset)
        for (row, score), answer in zip(asked.items(), search(index, vectors, own, k), strict=True):
            shown = "" if score is None else f", score {score:.3f}"
            found = f"the {answer.num_rows} most similar of {index.count:,} rows, generation {index.generation}"
            print(f"{' '.join(map(str, row))}{shown}: {found}")
            print(table(answer, dataset), end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
