"""Names of array types for annotations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import jax
import numpy as np
from jax.typing import DTypeLike

# Unions and forward references as `typing` spells them, so that `isinstance`, `get_args` and type checkers all work.
ArrayBatched = jax.Array
ArrayDevice = jax.Array
ArraySharded = jax.Array
ArrayNumpy = np.ndarray
PRNGKey = jax.Array
Device = jax.Device
PyTreeDef = jax.tree_util.PyTreeDef

Array = Union[ArrayDevice, ArrayNumpy, np.bool_, np.number]  # noqa: UP007
Scalar = Union[float, int]  # noqa: UP007
Numeric = Union[Array, Scalar]  # noqa: UP007
Shape = Sequence[Union[int, Any]]  # noqa: UP007
ArrayDType = DTypeLike

ArrayTree = Union[Array, Iterable["ArrayTree"], Mapping[Any, "ArrayTree"]]  # noqa: UP007
ArrayDeviceTree = Union[ArrayDevice, Iterable["ArrayDeviceTree"], Mapping[Any, "ArrayDeviceTree"]]  # noqa: UP007
ArrayNumpyTree = Union[ArrayNumpy, Iterable["ArrayNumpyTree"], Mapping[Any, "ArrayNumpyTree"]]  # noqa: UP007
