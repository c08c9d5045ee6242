"""Parameters in files, in the safetensors format.

A file is the length of a header (8 bytes, little-endian), the header (JSON: name → dtype, shape,
offsets) and the arrays' bytes. The nested names of a tree are written as JSON lists, and so come
back whatever characters they hold; what JSON cannot say of an array (keys, scalars of Python) is in
the header's metadata.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype(np.complex64),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_SEPARATOR = "."


def save(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Writes a tree of arrays to a safetensors file, which any reader of that format can read.

    The file is written under another name and then renamed: it is there whole, or not at all.

    Args:
      path: of the file.
      tree: dictionaries of dictionaries of arrays, as `{"params": params, "state": state}`; random
        keys may be among them.

    Raises:
      TypeError: on a node that is no dictionary, or a leaf that is no array.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/model.safetensors"
      >>> save(path, {"linear": {"w": jnp.ones([2, 3], jnp.bfloat16)}})
      >>> load(path)["linear"]["w"].dtype
      dtype(bfloat16)
    """
    flat: dict[str, np.ndarray] = {}
    paths: dict[str, list[str]] = {}
    keys: dict[str, str] = {}
    empty: list[list[str]] = []
    for parts, leaf in _leaves(tree, ()):
        if leaf is _EMPTY:
            empty.append(list(parts))
            continue
        name = _SEPARATOR.join(parts)
        if name in flat:
            raise ValueError(f"save: two leaves have the name {name!r}")
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            keys[name] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        if type(leaf) in (int, float):  # a number of Python's has the dtype that JAX gives it, if that holds it
            narrow = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
            array = narrow if type(leaf) is float or narrow == leaf else array
        if array.dtype not in _NAMES:
            raise TypeError(f"save: {'/'.join(parts)} has dtype {array.dtype}, which has no name")
        flat[name] = np.asarray(array, order="C")
        paths[name] = list(parts)
    metadata = {"format": "renga", "paths": json.dumps(paths), "keys": json.dumps(keys), "empty": json.dumps(empty)}
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, array in flat.items():
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the arrays are aligned
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for array in flat.values():
            file.write(array.tobytes())
    partial.replace(path)


_EMPTY = object()  # stands for a dictionary without entries


def _leaves(tree: Any, path: tuple[str, ...]) -> Any:
    if isinstance(tree, Mapping):
        if not tree:
            yield path, _EMPTY
        for key, value in tree.items():
            if not isinstance(key, str):
                raise TypeError(f"save: names must be strings, got {key!r} in {'/'.join(path)!r}")
            yield from _leaves(value, (*path, key))
    elif isinstance(tree, jax.Array | np.ndarray | np.generic | int | float):
        yield path, tree
    else:
        raise TypeError(f"save: {'/'.join(path)!r} must be an array or a dictionary, got {type(tree).__name__}")


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a tree of arrays from a safetensors file.

    Files of other programs come back flat: name → array. What JAX would narrow (float64, int64 and the like without
    `jax_enable_x64`) comes back as NumPy arrays of the dtype that was stored, and all else as JAX's.

    Args:
      path: of the file.

    Returns:
      The tree that `save` was given.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not a safetensors file, or is cut off.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/model.safetensors"
      >>> save(path, {"a": {"key": jax.random.key(0)}})
      >>> bool(load(path)["a"]["key"] == jax.random.key(0))
      True
    """
    path = pathlib.Path(path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError(
            f"load: {path} is not a safetensors file, or is cut off: its header should have "
            f"{length} bytes, the file has {len(data)}"
        )
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        paths = json.loads(metadata.get("paths", "{}"))
        keys = json.loads(metadata.get("keys", "{}"))
        empty = json.loads(metadata.get("empty", "[]"))
    except (ValueError, AttributeError) as error:
        raise ValueError(f"load: {path} is not a safetensors file: {error}") from error
    body = memoryview(data)[8 + length :]
    tree: dict[str, Any] = {}
    for parts in empty:
        level = tree
        for part in parts:
            level = level.setdefault(part, {})
    for name, entry in header.items():
        array: Any = _array(path, name, entry, body)
        if name in keys:
            array = jax.random.wrap_key_data(array, impl=keys[name])
        parts = paths.get(name, [name])
        level = tree
        for part in parts[:-1]:
            level = level.setdefault(part, {})
        level[parts[-1]] = array
    return tree


def _array(path: Any, name: str, entry: Any, body: memoryview) -> jax.Array | np.ndarray:
    start, end = entry["data_offsets"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"load: {path}: {name} has the unknown dtype {entry['dtype']}")
    dtype = _DTYPES[entry["dtype"]]
    size = int(np.prod(entry["shape"], dtype=np.int64)) * dtype.itemsize
    if end > len(body) or end - start != size:
        raise ValueError(
            f"load: {path} is cut off or damaged: {name} should have {size} bytes at {start}, the "
            f"file has {max(0, min(end, len(body)) - start)}"
        )
    array = np.frombuffer(body[start:end], dtype).reshape(entry["shape"])
    # JAX would narrow it without a word; NumPy keeps it, and JAX takes it wherever it is used.
    return jnp.asarray(array) if jax.dtypes.canonicalize_dtype(dtype) == dtype else array.copy()
