"""Engines behind one protocol: open a checkpoint or a bundle, call it with images, get arrays."""

from parckit.runtimes.engines import CHECKPOINT, ENGINES, Engine, EngineModule, find_engine, load_engine
from parckit.runtimes.open import choose_artefact, choose_engine, fitting_artefacts, open_artefact, open_session
from parckit.runtimes.predictor import Predictor, load
from parckit.runtimes.protocol import Images, Outputs, Session
from parckit.runtimes.windows import WindowSession

__all__ = [
    "CHECKPOINT",
    "ENGINES",
    "Engine",
    "EngineModule",
    "Images",
    "Outputs",
    "Predictor",
    "Session",
    "WindowSession",
    "choose_artefact",
    "choose_engine",
    "find_engine",
    "fitting_artefacts",
    "load",
    "load_engine",
    "open_artefact",
    "open_session",
]
