"""Weights and arrays from PyTorch and to it. PyTorch itself is not imported."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["from_torch", "params_from_torch", "to_torch"]

# Axes of a PyTorch weight in the order of ours, by the kind of layer.
_LAYOUTS: dict[str, tuple[int, ...]] = {
    "linear": (1, 0),  # [out, in] → [in, out]
    "conv1d": (2, 1, 0),  # [out, in, k] → [k, in, out]
    "conv2d": (2, 3, 1, 0),  # [out, in, kh, kw] → [kh, kw, in, out]
    "conv3d": (2, 3, 4, 1, 0),
    "conv1d_transpose": (2, 1, 0),  # [in, out, k] → [k, out, in], mirrored
    "conv2d_transpose": (2, 3, 1, 0),
    "conv3d_transpose": (2, 3, 4, 1, 0),
}


def _lstm(*arrays: np.ndarray) -> np.ndarray:
    """The gates i, f, g, o of PyTorch in our order i, g, f, o; our forget gate has a 1 of its own."""
    if arrays[0].ndim == 1:
        i, f, g, o = np.split(sum(arrays), 4)
        return np.concatenate([i, g, f - 1, o])
    i, f, g, o = np.split(np.concatenate(arrays, axis=1).T, 4, axis=1)
    return np.concatenate([i, g, f, o], axis=1)


def _third(n: int) -> Callable[[np.ndarray], np.ndarray]:
    """The rows of queries, keys or values in `in_proj_weight` and `in_proj_bias`."""
    return lambda array: np.split(array, 3)[n].T


# Kinds that take more than an exchange of axes, or several weights.
_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "lstm": _lstm,
    "query": _third(0),
    "key": _third(1),
    "value": _third(2),
}


def from_torch(tensor: Any) -> jax.Array:
    """A JAX array on a tensor's memory, without a copy where DLPack allows it.

    Args:
      tensor: a PyTorch tensor without gradient, or any array with `__dlpack__`.

    Example:
      >>> from_torch(np.ones(2, np.float32))
      Array([1., 1.], dtype=float32)
    """
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
    if hasattr(tensor, "contiguous"):
        tensor = tensor.contiguous()
    return jnp.from_dlpack(tensor)


def to_torch(array: jax.Array) -> Any:
    """A PyTorch tensor on an array's memory, without a copy where DLPack allows it.

    JAX arrays do not change: clone the tensor before writing to it.

    Args:
      array: a JAX array.
    """
    import importlib

    return importlib.import_module("torch").from_dlpack(array)


def params_from_torch(
    state_dict: Mapping[str, Any],
    names: Mapping[str, Any],
    params: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, jax.Array]]:
    """Fills parameters (or state) with weights of a PyTorch model, whose layouts are changed.

    Args:
      state_dict: of PyTorch, or from a file by `nn.load`: name → tensor or array.
      names: our name ("mlp/~/linear_0/w") → PyTorch's name ("layers.0.weight"), or a pair with the
        kind of layer: "linear", "conv1d", "conv2d", "conv3d", "conv1d_transpose", ...,
        or "same" for no change. Without a kind it is found from the number of axes of w: a matrix
        called "w" is linear, w of three to five axes a convolution, all else stays as it is.
        The kinds "query", "key" and "value" take their part of `in_proj_weight` or `in_proj_bias`;
        "lstm" takes a pair of names, as in `(("weight_ih_l0", "weight_hh_l0"), "lstm")`, also for
        the biases. A kind may be a function of the arrays. (PyTorch's GRU is another than ours: it
        applies the reset gate behind the matrix, and has no counterpart.)
      params: parameters of our model, which say the shapes, as from `init` or `jax.eval_shape`.

    Returns:
      A tree like `params`.

    Raises:
      ValueError: if a name is missing in one of the three, or the shapes do not fit: all are listed.

    Example:
      >>> state_dict = {"0.weight": np.ones([3, 2], np.float32), "0.bias": np.zeros(3, np.float32)}
      >>> params = {"linear": {"w": jnp.zeros([2, 3]), "b": jnp.zeros(3)}}
      >>> names = {"linear/w": "0.weight", "linear/b": "0.bias"}
      >>> params_from_torch(state_dict, names, params)["linear"]["w"].shape
      (2, 3)
    """
    problems, out = [], {}
    for bundle, values in params.items():
        out[bundle] = {}
        for name, wanted in values.items():
            full = f"{bundle}/{name}"
            if full not in names:
                problems.append(f"{full} {list(wanted.shape)}: not in names")
                continue
            source = names[full]
            source, kind = source if isinstance(source, tuple) else (source, None)
            sources = source if isinstance(source, tuple) else (source,)
            absent = [s for s in sources if s not in state_dict]
            if absent:
                problems.append(f"{full}: {', '.join(map(repr, absent))} is not in state_dict")
                continue
            arrays = [_to_numpy(state_dict[s]) for s in sources]
            kind = _kind(name, arrays[0].ndim) if kind is None else kind
            if not callable(kind) and kind not in _LAYOUTS and kind not in _FUNCTIONS and kind != "same":
                problems.append(f"{full}: unknown kind {kind!r}, not of {', '.join([*_LAYOUTS, *_FUNCTIONS])}, same")
                continue
            array = _relayout(arrays, kind)
            if array.size == np.prod(wanted.shape) and name != "w":
                array = array.reshape(wanted.shape)  # as [C] to [1, 1, 1, C]
            if array.shape != tuple(wanted.shape):
                problems.append(f"{full}: expected {list(wanted.shape)}, {source!r} gives {list(array.shape)}")
                continue
            out[bundle][name] = jnp.asarray(array, wanted.dtype)
    if problems:
        raise ValueError("params_from_torch:\n  " + "\n  ".join(problems))
    return out


def _to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        return np.asarray(from_torch(value))
    return np.asarray(value)


def _kind(name: str, ndim: int) -> str:
    if name != "w":
        return "same"
    return {2: "linear", 3: "conv1d", 4: "conv2d", 5: "conv3d"}.get(ndim, "same")


def _relayout(arrays: list[np.ndarray], kind: Any) -> np.ndarray:
    if callable(kind) or kind in _FUNCTIONS:
        return (kind if callable(kind) else _FUNCTIONS[kind])(*arrays)
    (array,) = arrays
    if kind == "same":
        return array
    if kind.endswith("transpose"):
        array = np.flip(array, tuple(range(2, array.ndim)))
    return array.transpose(_LAYOUTS[kind])
