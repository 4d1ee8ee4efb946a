"""From a trained model to a verified bundle."""

from parckit.deploy.errors import ExportError, ParityError
from parckit.deploy.export import export_bundle

__all__ = ["ExportError", "ParityError", "export_bundle"]
