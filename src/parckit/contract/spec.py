"""What must be known to build a model again and to feed it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from parckit.contract.errors import InputError
from parckit.contract.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A model's identity, stored under `SPEC_KEY` in every checkpoint and in every bundle's contract.

    Attributes:
        model: name in timm's registry.
        model_kwargs: further keywords of `timm.create_model`; JSON values.
        labels: class names by index; their number is the model's `num_classes`.
        preprocessing: what the weights expect.
    """

    model: str
    model_kwargs: Mapping[str, object] = field(default_factory=dict[str, object])
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def with_size(self, size: tuple[int, int]) -> "ModelSpec":
        """Return the same spec for another input size (height, width), pixels."""
        return replace(self, preprocessing=replace(self.preprocessing, size=size))

    def to_dict(self) -> dict[str, object]:
        """Return a plain dict that JSON and `weights_only` checkpoints can hold."""
        return {
            "model": self.model,
            "model_kwargs": dict(self.model_kwargs),
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "ModelSpec":
        """Rebuild from `to_dict`'s form.

        Raises:
            InputError: if a key is missing.
        """
        if not isinstance(data.get("labels"), list | tuple):
            raise InputError(f"model spec: labels={data.get('labels')!r} is no list")
        try:
            return cls(
                model=str(data["model"]),
                model_kwargs=dict(cast("Mapping[str, object]", data["model_kwargs"])),
                labels=tuple(cast("list[str]", data["labels"])),
                preprocessing=Preprocessing.from_dict(cast("Mapping[str, object]", data["preprocessing"])),
            )
        except KeyError as error:
            raise InputError(f"model spec has no {error.args[0]!r}") from error


SPEC_KEY = "parckit"
"""Key of the spec inside a Lightning checkpoint and inside a safetensors file's metadata (there as JSON text)."""
