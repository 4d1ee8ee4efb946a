"""Export: from a trained network to a verified bundle."""

from parckit.deploy.bundling import export, export_bundle
from parckit.deploy.errors import ExportError, ParityError
from parckit.deploy.settings import ExportSettings, OnnxSettings

__all__ = ["ExportError", "ExportSettings", "OnnxSettings", "ParityError", "export", "export_bundle"]
