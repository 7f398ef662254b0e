"""The figures of each benchmark that ``docs/benchmarks.md`` shows, and what it says of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A row of the page: the key of the result (dots lead into nested objects), and what it says to a reader."""

    key: str
    label: str
    unit: str
    """``%`` shows a share as per cent; ``×`` is a ratio."""
    compared_with: str


@dataclass(frozen=True)
class Topic:
    """The figures of one benchmark."""

    name: str
    title: str
    text: str
    figures: tuple[Figure, ...]
    command: str = ""


TOPICS = (
    Topic(
        "night",
        "A night",
        "One night of flights (about 900 rows) runs through real Airflow. The figures are medians.",
        (
            Figure("night_wall_s", "time from the trigger to the published scores", "s", "the target: at most 60 s"),
            Figure("overhead_s", "part of that time outside the stages' own computation", "s", "the time of the night above"),
            Figure("rerun_wall_s", "time to run a finished night again", "s", "the target: at most 20 s"),
        ),
    ),
    Topic(
        "faults",
        "Kills",
        "The campaign kills a process in every task of four nights: the stage, its runner, or the scheduler.",
        (
            Figure("kill_points", "processes killed", "", "11 tasks in each of 4 nights"),
            Figure("recovered", "kills from which the night recovered", "", "the processes killed"),
            Figure("lost_rows", "rows lost", "", "the rows of nights without kills"),
            Figure("doubled_rows", "rows published twice", "", "the rows of nights without kills"),
        ),
        "make faults",
    ),
    Topic(
        "features",
        "Features",
        "AUC of the default forest on flights of 2013, mean of the months April to December.",
        (
            Figure("retrained_mean", "AUC with the shipped features, retrained each month", "", "0.703 with the plain features"),
            Figure("static_mean", "AUC with the shipped features, trained once on January to March", "", "0.669 with the plain features"),
        ),
    ),
    Topic(
        "scoring",
        "Scoring",
        "The stage `score` reads Parquet and writes Parquet: keys, score and decision.",
        (
            Figure("ratio_to_bare", "speed on 2 million rows", "×", "the bare ONNX session on rows that are in memory already"),
            Figure("ratio_to_pyfunc", "speed on 2 million rows", "×", "`mlflow.pyfunc` from Parquet to Parquet"),
            Figure("peak_rss_mib_20m", "peak memory on 20 million rows", "MiB", "the target: at most 1,536 MiB"),
            Figure("peak_rss_ratio", "peak memory on 20 million rows", "×", "peak memory on 2 million rows"),
        ),
    ),
    Topic(
        "forms",
        "The cheapest form of the model",
        "The default forest and the cheapest smaller form of it that loses at most 0.002 of AUC on the holdout, from Parquet to Parquet.",
        (
            Figure("ratio_to_forest", "speed of the form on 2 million rows", "×", "the forest; the target: at least 4"),
            Figure("bare_ratio_to_forest", "the same on rows that are in memory already", "×", "the forest"),
            Figure("auc_loss", "AUC that the form loses", "", "the target: at most 0.002"),
            Figure("log_loss_loss", "log loss that the form adds", "nats", "the limit: 0.002"),
            Figure("read_write_share", "share of the time for reading and writing", "", "all time of the form"),
            Figure("memory_mib_form", "memory of the form", "MiB", "no target"),
            Figure("memory_mib_forest", "memory of the forest", "MiB", "no target"),
            Figure("size_mib_form", "size of the form", "MiB", "no target"),
            Figure("size_mib_forest", "size of the forest", "MiB", "no target"),
        ),
    ),
    Topic(
        "retrain",
        "Retraining",
        "One run of `drift_triggered_retraining` on six months of flights, through real Airflow.",
        (Figure("retrain_wall_s", "time from the trigger to the verified champion", "s", "no target"),),
    ),
    Topic(
        "use_cases",
        "Use cases of other sizes",
        "Fifty use cases in one installation, one night from a folder of 365 files, and a table of 1.75 million card payments. One payment in 130 is a fraud. "
        "The training stages have ten features.",
        (
            Figure("dag_parse_s_50", "processor time to parse the DAG files of 50 use cases", "s", "the target: at most 2 s"),
            Figure("dag_parse_ratio", "processor time to parse the DAG files of 50 use cases", "×", "bare Airflow making the same DAGs"),
            Figure("scheduler_percent", "processor time of the scheduler, fifty use cases, no run due", "% of a core", "no target"),
            Figure(
                "dag_processor_percent",
                "processor time of the dag processor, which parses all files every 30 s",
                "% of a core",
                "no target",
            ),
            Figure("api_server_percent", "processor time of the API server", "% of a core", "no target"),
            Figure("list_of_dags_s", "time of `GET /api/v2/dags` with 50 DAGs", "s", "no target"),
            Figure("new_use_case_s", "time until a new use case has its DAG", "s", "no target"),
            Figure(
                "ingest_night_ratio", "time of a night's ingest from 365 files", "×", "a bare read of the 31 files that the night needs"
            ),
            Figure("ingest_files_read", "files that a night's ingest reads, of 365", "", "the target: at most 31, those of the lookback"),
            Figure("ingest_files_opened_by_date", "files that it opens, with `{partition}` in the path", "", "the target: at most 31"),
            Figure("init_s", "time of `use_case init`, Parquet", "s", "the target: at most 10 s"),
            Figure("check_s", "time of `use_case check`, Parquet", "s", "the target: at most 10 s"),
            Figure("init_csv_s", "time of `use_case init`, CSV", "s", "the target: at most 10 s"),
            Figure("check_csv_s", "time of `use_case check`, CSV", "s", "the target: at most 10 s"),
            Figure("train_s", "time of `train`", "s", "the target: at most 120 s"),
            Figure("train_peak_rss_mib", "peak memory of `train`", "MiB", "no target"),
            Figure("train_encoder_s", "time of `train_encoder`", "s", "no target"),
            Figure("train_encoder_peak_rss_mib", "peak memory of `train_encoder`", "MiB", "no target"),
            Figure("quantize_s", "time of `quantize`", "s", "the target: at most 60 s"),
            Figure("quantize_peak_rss_mib", "peak memory of `quantize`", "MiB", "no target"),
            Figure("forest.payments.350000.auc", "AUC on payments, 350,000 rows per tree", "", "AUC with all rows per tree, below"),
            Figure("forest.payments.all.auc", "AUC on payments, all 1.6 million training rows per tree", "", "AUC with 350,000, above"),
            Figure(
                "forest.payments.350000.calibration_error",
                "calibration error on payments, 350,000 rows per tree",
                "",
                "with all rows, below",
            ),
            Figure("forest.payments.all.calibration_error", "calibration error on payments, all rows per tree", "", "with 350,000, above"),
            Figure("forest.flights.80000.auc", "AUC on flights, 80,000 rows per tree", "", "AUC with all rows per tree, below"),
            Figure("forest.flights.all.auc", "AUC on flights, all rows per tree (the default)", "", "AUC with 80,000, above"),
        ),
    ),
    Topic(
        "governor",
        "Drift alarms",
        "Simulated years of nights, drawn from real flights. *Flights drawn* takes single flights, *nights drawn* takes whole nights with their weather.",
        (
            Figure("false_retrains_per_year", "false retrainings per stationary year, flights drawn", "", "the target: at most 1"),
            Figure(
                "false_retrains_per_year_whole_nights", "false retrainings per stationary year, nights drawn", "", "the target: at most 1"
            ),
            Figure(
                "years_without_false_retraining", "stationary years without a false retraining, flights drawn", "%", "250 simulated years"
            ),
            Figure("detected_within_7", "shifts seen within 7 nights, flights drawn", "%", "1,250 simulated shifts"),
            Figure("detected_within_7_whole_nights", "shifts seen within 7 nights, nights drawn", "%", "1,250 simulated shifts"),
            Figure("median_delay_nights", "median delay until a shift is seen, flights drawn", "nights", "the night of the shift"),
            Figure(
                "shifts.concept.detected_within_7", "losses of 0.05 AUC seen within 7 nights, flights drawn", "%", "250 simulated shifts"
            ),
            Figure(
                "shifts_whole_nights.concept.detected_within_7",
                "losses of 0.05 AUC seen within 7 nights, nights drawn",
                "%",
                "250 simulated shifts",
            ),
        ),
    ),
    Topic(
        "closed_loop",
        "The loop",
        "A replay of April to December 2013, night by night. AUC is the mean of the months.",
        (
            Figure("ask_auc_closed_loop", "AUC in the loop, shipped features", "", "the first champion left alone, below"),
            Figure("ask_auc_static", "AUC of the first champion left alone, shipped features", "", "the loop, above"),
            Figure("ask_retrainings", "retrainings, shipped features", "", "the target: at most 8"),
            Figure("ask_promotions", "promotions, shipped features", "", "the retrainings above"),
            Figure("ask_promotions_of_a_worse_challenger", "promotions of a worse challenger, shipped features", "", "the target: 0"),
            Figure("plain_auc_closed_loop", "AUC in the loop, plain features", "", "the first champion left alone, below"),
            Figure("plain_auc_static", "AUC of the first champion left alone, plain features", "", "the loop, above"),
            Figure("plain_retrainings", "retrainings, plain features", "", "the target: at most 8"),
            Figure("plain_promotions", "promotions, plain features", "", "the retrainings above"),
            Figure("auc_closed_loop", "AUC in a loop that decides by itself", "", "the target: at least 0.714"),
            Figure("logloss_gain", "log loss less than left alone, deciding by itself", "", "the target: at least 0"),
            Figure("retrainings", "retrainings, deciding by itself", "", "the target: at most 8"),
            Figure("promotions_of_a_worse_challenger", "promotions of a worse challenger, deciding by itself", "", "the target: 0"),
            Figure("best_auc_closed_loop", "AUC in a loop that decides by itself, LightGBM", "", "the target: at least 0.721"),
            Figure("best_auc_static", "AUC of the first champion left alone, LightGBM", "", "the loop, above"),
            Figure("best_logloss_gain", "log loss less than left alone, LightGBM", "", "the target: at least 0"),
            Figure("best_retrainings", "retrainings, LightGBM", "", "the target: at most 13"),
            Figure("best_promotions_of_a_worse_challenger", "promotions of a worse challenger, LightGBM", "", "the target: 0"),
        ),
    ),
    Topic(
        "search",
        "The search among candidates",
        "The candidates of flights as of 2013-04-01: the default forest, and LightGBM with 300 trees of 31 leaves. AUC is the mean of the months April to December, "
        "trained again each month. The settings of LightGBM were chosen on the months to August.",
        (
            Figure("search_loss_forest", "log loss of the forest in the search", "", "LightGBM, below"),
            Figure("search_loss_lightgbm", "log loss of LightGBM in the search", "", "the forest, above"),
            Figure("search_s", "time of the search", "s", "the budget: 1,800 s"),
            Figure("auc_chosen", "AUC of the chosen candidate", "", "the target: at least 0.722"),
            Figure("auc_forest", "AUC of the forest", "", "the chosen candidate, above"),
            Figure("auc_lightgbm", "AUC of LightGBM", "", "the forest, above"),
            Figure("later_auc_forest", "AUC of the forest, September to December", "", "LightGBM, below"),
            Figure("later_auc_lightgbm", "AUC of LightGBM, September to December", "", "the forest, above"),
        ),
    ),
    Topic(
        "demand_loop",
        "The loop on forecasts",
        "A replay of the use case demand, April to October 2025, night by night. On 2025-07-01 half of the shops begin to sell half as much again. Errors are mean absolute errors in units sold.",
        (
            Figure("ask_error_closed_loop_after_shift", "error in the loop after the shift", "", "the first model left alone, below"),
            Figure("ask_error_static_after_shift", "error of the first model left alone, after the shift", "", "the loop, above"),
            Figure("ask_error_naive_after_shift", "error of the same weekday a week before, after the shift", "", "both models, above"),
            Figure("ask_error_closed_loop_last_month", "error in the loop in October", "", "the first model left alone, below"),
            Figure("ask_error_static_last_month", "error of the first model left alone, in October", "", "the loop, above"),
            Figure("ask_nights_until_retraining", "nights from the shift to the first retraining", "", "the target: at most 7"),
            Figure("ask_retrainings", "retrainings", "", "no target"),
            Figure("ask_promotions", "promotions", "", "the retrainings above"),
            Figure(
                "error_closed_loop_after_shift",
                "error after the shift, in a loop that decides by itself",
                "",
                "the first model left alone, above",
            ),
            Figure(
                "error_closed_loop_last_month",
                "error in October, in a loop that decides by itself",
                "",
                "the first model left alone, above",
            ),
            Figure("promotions", "promotions in a loop that decides by itself", "", "the promotions above"),
            Figure("rollbacks", "rollbacks by the watch in that loop", "", "its promotions, above"),
        ),
    ),
    Topic(
        "index",
        "The vector index",
        "The flights of 2013 are 326,587 vectors of 32 values. Five million vectors are flights with noise added.",
        (
            Figure("flights_hnsw_held_out_recall_10", "recall@10 of HNSW on nights that it does not hold", "", "exact search; target 0.98"),
            Figure(
                "flights_ivfpq_held_out_recall_10", "recall@10 of IVF-PQ on nights that it does not hold", "", "exact search; target 0.95"
            ),
            Figure("flights_hnsw_qps_ratio", "queries per second of HNSW, flights", "×", "exact search on the same threads"),
            Figure("flights_ivfpq_qps_ratio", "queries per second of IVF-PQ, flights", "×", "exact search on the same threads"),
            Figure("large_hnsw_qps_ratio", "queries per second of HNSW, five million vectors", "×", "exact search on the same threads"),
            Figure("large_ivfpq_qps_ratio", "queries per second of IVF-PQ, five million vectors", "×", "exact search on the same threads"),
            Figure("ivfpq_memory_ratio", "memory of a process that serves an IVF-PQ index", "×", "the raw float32 vectors"),
            Figure("incremental_ratio", "time to append one night to an HNSW index", "×", "the time to build it from scratch"),
            Figure("evidence_s", "time of `attach_evidence` for 1,000 flights", "s", "the target: at most 2 s"),
            Figure("int8_overlap_10", "neighbours that the INT8 encoder keeps", "%", "the FP32 encoder"),
            Figure("int8_size_ratio", "size of the INT8 encoder", "×", "the FP32 encoder"),
            Figure("int8_throughput_ratio", "rows per second of the INT8 encoder", "×", "the FP32 encoder"),
        ),
    ),
    Topic(
        "drift",
        "Counting for drift",
        "Ten million rows of 22 features are counted into the bins of a reference profile.",
        (
            Figure("ratio_to_numpy", "speed in memory", "×", "plain NumPy"),
            Figure("peak_rss_mib", "peak memory when it reads Parquet", "MiB", "the target: at most 1,024 MiB"),
        ),
    ),
    Topic(
        "featurize",
        "Computing features",
        "The features of a year of flights, computed from raw rows.",
        (
            Figure("featurize_rows_per_s", "speed", "rows/s", "no target"),
            Figure("peak_rss_mib", "peak memory", "MiB", "the target: at most 2,048 MiB"),
        ),
    ),
)
