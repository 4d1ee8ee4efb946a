"""parckit: lightweight vision backbones with global convolutions, from images to a verified edge artefact.

The names below are loaded when they are first used, so that `import parckit` costs neither numpy nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from parckit.contract.openmp import wait_briefly
from parckit.contract.version import VERSION

if TYPE_CHECKING:
    from parckit.deploy import export
    from parckit.deploy.quantize import quantize
    from parckit.measure.evaluation import evaluate
    from parckit.measure.latency import benchmark
    from parckit.models import create_model, fuse, load_official_state_dict, parcify
    from parckit.networks import create_detector, create_segmenter
    from parckit.runtimes import load
    from parckit.tasks import train

__version__ = VERSION

__all__ = [
    "__version__",
    "benchmark",
    "create_detector",
    "create_model",
    "create_segmenter",
    "evaluate",
    "export",
    "fuse",
    "load",
    "load_official_state_dict",
    "parcify",
    "quantize",
    "train",
]

_HOMES = {
    "benchmark": ("parckit.measure.latency", "onnxruntime"),
    "create_detector": ("parckit.networks", "models"),
    "create_model": ("parckit.models", "models"),
    "create_segmenter": ("parckit.networks", "models"),
    "evaluate": ("parckit.measure.evaluation", "eval"),
    "export": ("parckit.deploy", "export"),
    "fuse": ("parckit.models", "models"),
    "load": ("parckit.runtimes", "onnxruntime"),
    "load_official_state_dict": ("parckit.models", "models"),
    "parcify": ("parckit.models", "models"),
    "quantize": ("parckit.deploy.quantize", "export"),
    "train": ("parckit.tasks", "train"),
}
"""Name -> the module that has it, and the extra that installs what the module needs."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'parckit' has no attribute {name!r}")
    module, extra = _HOMES[name]
    if name == "train":  # sets environment variables, so not at import, but before torch is imported
        wait_briefly()
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("parckit"):
            raise
        line = f'pip install "parckit[{extra}]"'
        raise ImportError(f"parckit.{name} needs the package {error.name}; install it with: {line}") from error


def __dir__() -> list[str]:
    return sorted(__all__)
