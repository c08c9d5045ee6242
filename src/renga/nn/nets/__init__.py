"""Whole networks."""

from renga.nn.nets._mlp import MLP

__all__ = ["MLP"]
