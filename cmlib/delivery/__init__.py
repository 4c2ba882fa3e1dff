"""What leaves the course: a trained model as a file that runs without it."""

from cmlib.delivery.export import export_model

__all__ = ["export_model"]
