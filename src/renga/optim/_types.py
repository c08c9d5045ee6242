"""The types of the trees that an optimiser works on, and of the functions that it takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, PyTree

OptState = PyTree  # the state of a transformation
Params = PyTree  # a tree of parameters
Updates = PyTree  # a tree like the parameters: gradients on their way to become steps
Stepped = tuple[PyTree, PyTree]  # what `update` returns: new updates, new state
Schedule = Callable[[Any], Any]  # step count -> value
Number = Array | np.ndarray | np.number | float | int  # a real hyperparameter, known or traced
ScalarOrSchedule = Number | Callable[[Any], Any]
