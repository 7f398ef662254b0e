"""The facts of an evaluation that come from the trained model itself, not from its scores."""

from typing import TYPE_CHECKING, Any

from pipelines.lib.challengers.search import results_of
from pipelines.lib.models.estimators import not_reproducible
from pipelines.lib.models.forest_sample import sample_of
from pipelines.lib.models.forms import form_of
from pipelines.lib.models.importances import importances_shown, kind_of

if TYPE_CHECKING:
    from pipelines.lib.features.history import History
    from pipelines.lib.models.inference import Model


def facts_of(challenger: "Model", trained: Any, held_out: "History") -> dict[str, Any]:
    """Return the fields of `Evaluation` that the fitted model `trained` decides; `challenger` is its ONNX form."""
    form = form_of(trained)
    return {
        "importances": importances_shown(challenger, trained, held_out),
        "importance_kind": kind_of(trained),
        "not_reproducible": (form and form.not_reproducible) or not_reproducible(trained),
        "form": form,
        "scored_as": challenger.profile and challenger.profile.scored_as,
        "search": results_of(trained),
        "trained_on": sample_of(trained),
    }
