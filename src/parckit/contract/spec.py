"""What must be known to build a network again and to feed it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from parckit.contract.errors import InputError
from parckit.contract.plain import ADDED_LATER, from_plain, to_plain
from parckit.contract.preprocessing import Preprocessing
from parckit.contract.quantization import Quantization
from parckit.contract.schema1 import is_schema1_spec, spec_from_schema1

Task = Literal["classify", "multilabel", "detect", "segment"]
"""`"classify"` gives a picture one class, `"multilabel"` any number of them."""

CLASSIFIER = "classifier"
"""The head that timm's models have: one number for every class."""

_MOST_PIXEL_CLASSES = 255

SPEC_KEY = "parckit"
"""Key of the spec in a Lightning checkpoint, in the metadata of a safetensors file and of an ONNX file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """A network's identity: from it alone the network is built, its checkpoint opened and its bundle described.

    Attributes:
        task: what the network is for.
        backbone: name in timm's registry.
        backbone_kwargs: further keywords of `timm.create_model`; JSON values.
        head: name of the head in `parckit.networks`.
        head_kwargs: further keywords of the head; JSON values.
        labels: class names by index.
        preprocessing: what the weights expect.
        quantization: the fake quantizers that the network is trained with; None for a float network.

    Raises:
        InputError: if two classes have the same name, or a name is not UTF-8.
    """

    task: Task = "classify"
    backbone: str
    backbone_kwargs: Mapping[str, object] = field(default_factory=dict[str, object])
    head: str = CLASSIFIER
    head_kwargs: Mapping[str, object] = field(default_factory=dict[str, object])
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    quantization: Quantization | None = field(default=None, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if len(set(self.labels)) < len(self.labels):
            twice = next(label for label, times in Counter(self.labels).items() if times > 1)
            raise InputError(f"labels: two classes have the name {twice!r}")
        check_label_encoding(self.labels)
        if self.task == "segment" and len(self.labels) > _MOST_PIXEL_CLASSES:
            most = f"a pixel of a mask is a byte, and {_MOST_PIXEL_CLASSES} means no class"
            raise InputError(f"labels: {len(self.labels)} classes to segment; at most {_MOST_PIXEL_CLASSES}: {most}")

    def with_size(self, size: tuple[int, int]) -> "NetworkSpec":
        """Return the same spec for another input size (height, width), pixels."""
        return replace(self, preprocessing=self.preprocessing.with_size(size))

    def to_dict(self) -> dict[str, object]:
        """Return a plain dict that JSON and `weights_only` checkpoints can hold."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, data: object) -> "NetworkSpec":
        """Rebuild from `to_dict`'s form, or from the form that parckit 0.1.0 wrote.

        Raises:
            InputError: for a missing, unknown or ill-valued key.
        """
        if is_schema1_spec(data):
            data = spec_from_schema1(data)
        return from_plain(cls, data, name="network spec")


def check_label_encoding(labels: Sequence[str]) -> None:
    """Check that files can hold the names of classes. The name of a folder may hold any bytes.

    Raises:
        InputError: for a name that is not UTF-8.
    """
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise InputError(f"class {label!r}: its name is not UTF-8; rename the folder") from None
