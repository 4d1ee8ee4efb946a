"""Reading what parckit 0.1.0 called by other names: recipe keys, and entries of a training's checkpoint."""

import logging
from collections.abc import Mapping
from typing import cast

RENAMED_KEYS = {
    "model.label_smoothing": "task.label_smoothing",
    "model.mixing": "task.mixing",
    "model.distillation": "task.distillation",
    "data.augment": "task.augment",
}
"""Former key of a recipe, or option without its two hyphens -> today's."""

_RENAMED_SETTINGS = {
    "--model.distillation.features of the teacher": "--task.distillation.features of the teacher",
}

_log = logging.getLogger(__name__)


def translate_recipe(recipe: Mapping[str, object], *, name: str) -> dict[str, object]:
    """Return a recipe under today's keys; say once what has another name now.

    Args:
        recipe: nested, as YAML holds it.
        name: what the warning calls it.
    """
    groups = {
        key: dict(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value
        for key, value in recipe.items()
    }
    moved: list[str] = []
    for former, present in RENAMED_KEYS.items():
        group, key = former.split(".")
        new_group, new_key = present.split(".")
        values = groups.get(group)
        if isinstance(values, dict) and key in values:
            target = cast("dict[str, object]", groups.setdefault(new_group, {}))
            target[new_key] = cast("dict[str, object]", values).pop(key)
            moved.append(f"{former} is now {present}")
    if moved:
        _log.warning("%s: %s", name, "; ".join(moved))
    return groups


def translate_training(checkpoint: dict[str, object]) -> dict[str, object]:
    """Return a training's checkpoint with today's names of weights that are trained beside the network."""
    for entry in ("state_dict", "current_model_state"):
        if isinstance(weights := checkpoint.get(entry), dict):
            checkpoint[entry] = {
                f"task.{key}" if key.startswith("distiller.") else key: value
                for key, value in cast("dict[str, object]", weights).items()
            }
    return checkpoint


def translate_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a checkpoint under today's names."""
    return {_RENAMED_SETTINGS.get(name, name): value for name, value in settings.items()}
