"""Every error that Nightshift raises on purpose.

    NightshiftError
    ├── ConfigError             params.yaml, run.yaml or a command line is wrong         no retry
    ├── DataError               the data is wrong: torn, missing columns, bad types      no retry
    │   └── GateFailed          a gate found bad rows and stopped the run                no retry
    ├── ModelError              a model's file is missing, altered or does not fit       no retry
    ├── LedgerConflict          somebody else promoted first                             no retry
    └── TransientError          a database, registry or disk did not answer; try again   retry

Each message states the fact, the value that was found and the remedy. A stage that fails writes the error to
``failure.json`` (see `pipelines.lib.core.stage`), from which the Airflow operator decides whether to retry: what is not
in this tree (a lost connection inside a library, a killed process, memory) is retried.
"""


class NightshiftError(Exception):
    """The root; `retryable` says whether the same run may succeed if it is tried again unchanged."""

    retryable = False


class ConfigError(NightshiftError):
    """A parameter, a run file or an argument is wrong."""


class DataError(NightshiftError):
    """The source data cannot be used as it is."""


class GateFailed(DataError):
    """A gate stopped the run."""


class ModelError(NightshiftError):
    """A model file is missing, differs from its pinned digest, or does not fit the features."""


class LedgerConflict(NightshiftError):
    """The ledger has moved on since the caller looked."""


class TransientError(NightshiftError):
    """Something outside did not answer."""

    retryable = True
