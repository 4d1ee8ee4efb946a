"""Names that parckit 0.1.0 used: keys of recipes, and entries in the checkpoint of a training."""

import logging
from collections.abc import Mapping
from typing import cast

from parckit.contract import InputError

RENAMED_KEYS = {
    "model.label_smoothing": "task.label_smoothing",
    "model.mixing": "task.mixing",
    "model.distillation": "task.distillation",
    "data.augment": "task.augment",
}
"""Former key of a recipe -> today's key. Options have the same names after two hyphens."""

_RENAMED_SETTINGS = {
    "--model.distillation.features of the teacher": "--task.distillation.features of the teacher",
}
_UNCHANGEABLE_SETTINGS = {"--data.sampling": "natural", "--model.freeze": None}
"""Settings that were fixed in 0.1.0, which did not write them into checkpoints."""

_log = logging.getLogger(__name__)


def translate_recipe(recipe: Mapping[str, object], *, name: str) -> dict[str, object]:
    """Return a recipe under today's names of its keys, with one warning for all former names.

    Args:
        recipe: nested, as YAML holds it.
        name: name of the recipe in messages.

    Raises:
        InputError: if a key is set under both names, or the group that it belongs to today is no group.
    """
    groups = {
        key: dict(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value
        for key, value in recipe.items()
    }
    moved: list[str] = []
    for former, present in RENAMED_KEYS.items():
        (group, key), (new_group, new_key) = former.split("."), present.split(".")
        values = groups.get(group)
        if not isinstance(values, dict) or key not in values:
            continue
        target = groups.setdefault(new_group, {})
        if not isinstance(target, dict):
            raise InputError(f"{name}: {new_group} {target}: must be a group of keys")
        if new_key in target:
            raise InputError(f"{name}: {former}, {present}: {former} is now called {present}; use only the new name")
        target[new_key] = cast("dict[str, object]", values).pop(key)
        moved.append(f"{former} is now {present}")
    if moved:
        _log.warning("%s: %s", name, "; ".join(moved))
    return groups


def translate_training(checkpoint: dict[str, object]) -> dict[str, object]:
    """Return the checkpoint of a training in which the weights that a task trains have today's names."""
    for entry in ("state_dict", "current_model_state"):
        if isinstance(weights := checkpoint.get(entry), dict):
            checkpoint[entry] = {
                f"task.{key}" if key.startswith("distiller.") else key: value
                for key, value in cast("dict[str, object]", weights).items()
            }
    return checkpoint


def translate_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a checkpoint under today's names."""
    renamed = {_RENAMED_SETTINGS.get(name, name): value for name, value in settings.items()}
    return {**_UNCHANGEABLE_SETTINGS, **renamed}
