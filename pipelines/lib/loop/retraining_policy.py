"""The governor's policy: how much it takes to judge a night, and to call for a retraining."""

from typing import Self

from pydantic import Field, model_validator

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section


class Policy(Section):
    """Section ``govern``; what each number means stands next to it there."""

    minimum_rows: int = Field(ge=1)
    minimum_nights: int = Field(ge=1)
    psi_limit: float = Field(gt=0)
    noise_factor: float = Field(ge=1)
    top_features: int = Field(ge=0)
    importance_share: float = Field(gt=0, le=1)
    alarm_nights: int = Field(ge=1)
    alarm_window_nights: int = Field(ge=1)
    quality_nights: int = Field(ge=1)
    auc_loss: float = Field(gt=0)
    spread_factor: float = Field(ge=0)
    rearm_share: float = Field(gt=0, le=1)
    retry_nights: int = Field(ge=1)
    outcome_nights: int = Field(ge=0)
    cool_down_nights: int = Field(ge=0)
    per_month: int = Field(ge=0)
    refresh_days: int | None = Field(default=None, ge=1)

    def limit(self, noise: float) -> float:
        """Return the PSI above which a column of this noise has drifted."""
        return max(self.psi_limit, self.noise_factor * noise)

    @model_validator(mode="after")
    def _can_alarm(self) -> Self:
        if self.alarm_nights > self.alarm_window_nights:
            raise ValueError(
                f"alarm_nights is {self.alarm_nights}, alarm_window_nights {self.alarm_window_nights}: no night could ever alarm; "
                "set alarm_nights to at most alarm_window_nights"
            )
        return self

    def require_reachable(self, window_nights: int) -> None:
        """Raise `ConfigError` if no window of `window_nights` nights could ever be judged."""
        if self.minimum_nights > window_nights:
            raise ConfigError(
                f"params.yaml: govern.minimum_nights is {self.minimum_nights} and a window holds {window_nights} nights (profile.window_nights), so drift "
                f"could never be judged; set govern.minimum_nights to at most {window_nights}"
            )

    def lacking(self, nights: int, rows: int) -> str:
        """Return what a window of `nights` nights and `rows` rows has of what it takes to judge it, such as *4 of 5 nights*; empty if it has enough.

        Fewer nights always differ from the training data: two of them have no Sunday.
        """
        found = [f"{nights} of {self.minimum_nights} nights"] if nights < self.minimum_nights else []
        found += [f"{rows} of {self.minimum_rows} rows"] if rows < self.minimum_rows else []
        return " and ".join(found)
