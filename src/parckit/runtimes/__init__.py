"""Engines behind one protocol: open a checkpoint or a bundle, call it with images, get arrays."""

from parckit.runtimes.engines import CHECKPOINT, ENGINES, Engine, find_engine
from parckit.runtimes.open import open_session
from parckit.runtimes.predictor import Predictor, load
from parckit.runtimes.protocol import Images, Outputs, Session

__all__ = [
    "CHECKPOINT",
    "ENGINES",
    "Engine",
    "Images",
    "Outputs",
    "Predictor",
    "Session",
    "find_engine",
    "load",
    "open_session",
]
