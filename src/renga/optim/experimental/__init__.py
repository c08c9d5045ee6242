"""What may still change."""

from renga.optim.experimental import aggregating

__all__ = ["aggregating"]
