"""Export: from a trained network to a verified bundle."""

from parckit.deploy.bundling import export, export_bundle
from parckit.deploy.checking import Inspection, inspect
from parckit.deploy.errors import ExportError, ParityError
from parckit.deploy.settings import ExportSettings, OnnxSettings, settings_for

__all__ = [
    "ExportError",
    "ExportSettings",
    "Inspection",
    "OnnxSettings",
    "ParityError",
    "export",
    "export_bundle",
    "inspect",
    "settings_for",
]
