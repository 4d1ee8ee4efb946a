"""parckit: lightweight vision backbones with global convolutions, from images to a verified edge artefact.

The names below are loaded when first used, so that `import parckit` costs neither torch nor timm.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parckit.models import create_model, fuse, load_official_state_dict, parcify

__version__ = "0.1.0"

__all__ = ["__version__", "create_model", "fuse", "load_official_state_dict", "parcify"]

_HOMES = {
    "create_model": "parckit.models",
    "fuse": "parckit.models",
    "load_official_state_dict": "parckit.models",
    "parcify": "parckit.models",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'parckit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
