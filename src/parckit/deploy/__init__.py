"""From a trained model to a verified bundle."""

from parckit.deploy.axis_forms import AxisForm
from parckit.deploy.export import export_bundle

__all__ = ["AxisForm", "export_bundle"]
