"""The types of the trees that an optimiser works on, and of the functions that it takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, PyTree

# The state of a transformation.
OptState = PyTree  # the state of a transformation
# A tree of parameters.
Params = PyTree  # a tree of parameters
# A tree like the parameters: gradients that are to become steps.
Updates = PyTree  # a tree like the parameters: gradients on their way to become steps
Stepped = tuple[PyTree, PyTree]  # what `update` returns: new updates, new state
# step count -> value.
Schedule = Callable[[Any], Any]  # step count -> value
Number = Array | np.ndarray | np.number | float | int  # a real hyperparameter, known or traced
# A number, or a schedule of it.
ScalarOrSchedule = Number | Callable[[Any], Any]
