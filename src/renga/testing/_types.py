"""Names of array types for annotations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import jax
import numpy as np
from jax.typing import DTypeLike

# Unions and forward references as `typing` spells them, so that `isinstance`, `get_args` and type checkers all work.

# An array of JAX with a batch axis.
ArrayBatched = jax.Array
# An array of JAX.
ArrayDevice = jax.Array
# An array of JAX on several devices.
ArraySharded = jax.Array
# An array of NumPy.
ArrayNumpy = np.ndarray
# A key of JAX.
PRNGKey = jax.Array
# A device of JAX.
Device = jax.Device
# The structure of a tree.
PyTreeDef = jax.tree_util.PyTreeDef

# An array of JAX or NumPy.
Array = Union[ArrayDevice, ArrayNumpy, np.bool_, np.number]  # noqa: UP007
# A number of Python.
Scalar = Union[float, int]  # noqa: UP007
# An array or a number.
Numeric = Union[Array, Scalar]  # noqa: UP007
# A shape.
Shape = Sequence[Union[int, Any]]  # noqa: UP007
# A dtype, or what names one.
ArrayDType = DTypeLike

# An array of JAX or NumPy, or a tree of them.
ArrayTree = Union[Array, Iterable["ArrayTree"], Mapping[Any, "ArrayTree"]]  # noqa: UP007
# An array of JAX or a tree of them.
ArrayDeviceTree = Union[ArrayDevice, Iterable["ArrayDeviceTree"], Mapping[Any, "ArrayDeviceTree"]]  # noqa: UP007
# An array of NumPy or a tree of them.
ArrayNumpyTree = Union[ArrayNumpy, Iterable["ArrayNumpyTree"], Mapping[Any, "ArrayNumpyTree"]]  # noqa: UP007
