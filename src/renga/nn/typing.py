"""Types of parameter and state trees, for annotations."""

from renga.nn._types import MutableParams, MutableState, Params, State

__all__ = ["MutableParams", "MutableState", "Params", "State"]
