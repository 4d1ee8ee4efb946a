"""From a trained model to a verified bundle."""

from parckit.deploy.export import export_bundle

__all__ = ["export_bundle"]
