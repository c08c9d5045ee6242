"""Parameters in files, in the safetensors format.

A file is the length of a header (8 bytes, little-endian), the header (JSON: name → dtype, shape,
offsets) and the arrays' bytes. The nested names of a tree are written as JSON lists, and so come
back whatever characters they hold; what JSON cannot say of an array (keys, scalars of Python) is in
the header's metadata, and so is a checksum.
"""

import contextlib
import json
import math
import os
import pathlib
import zlib
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
_LONGEST_HEADER = 100_000_000  # bytes; the format allows no more


def save(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Writes a tree of arrays to a safetensors file, which any reader of that format can read.

    The file is written under another name and then renamed: it is there whole, or not at all.

    Args:
      path: of the file.
      tree: dictionaries of dictionaries of arrays, as `{"params": params, "state": state}`; random
        keys may be among them.

    Raises:
      TypeError: on a node that is no dictionary, or a leaf that is no array.
      OSError: if the file cannot be written, as where path is a directory; what stood there stays.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/model.safetensors"
      >>> save(path, {"linear": {"w": jnp.ones([2, 3], jnp.bfloat16)}})
      >>> load(path)["linear"]["w"].dtype
      dtype(bfloat16)
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"save: path must be that of a file, got the directory {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: path must be in a directory that exists, got {path}")
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
    entries: dict[str, dict[str, Any]] = {}
    raw = {name: array.reshape(-1).view(np.uint8) for name, array in flat.items()}
    at = 0
    for name, array in flat.items():
        offsets = [at, at + array.nbytes]
        entries[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        at += array.nbytes
    metadata = {"format": "renga", "paths": json.dumps(paths), "keys": json.dumps(keys), "empty": json.dumps(empty)}
    metadata["checksum"] = _checksum(metadata, entries, raw)
    text = json.dumps({"__metadata__": metadata, **entries}).encode()
    text += b" " * (-len(text) % 8)  # the arrays are aligned
    _write(path, [len(text).to_bytes(8, "little"), text, *raw.values()])


def _write(path: pathlib.Path, parts: list[Any]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part)
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the caller knows
        raise


def _checksum(metadata: Mapping[str, str], entries: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    """The CRC-32 of all that is read from a file; it does not depend on the order of the arrays."""
    total = zlib.crc32("".join(metadata.get(name, "") for name in ("paths", "keys", "empty")).encode())
    for name in sorted(entries):
        total = zlib.crc32(json.dumps([name, entries[name]["dtype"], entries[name]["shape"]]).encode(), total)
        total = zlib.crc32(raw[name], total)
    return f"{total:08x}"


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
      ValueError: if it is not a safetensors file, is cut off, or does not have the checksum that `save` wrote.

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
    if data[8:9] != b"{" or length > _LONGEST_HEADER:
        raise ValueError(f"load: {path} is not a safetensors file{', or is cut off' if len(data) <= 8 else ''}")
    if length > len(data) - 8:
        raise ValueError(f"load: {path} is cut off: its header should have {length} bytes, the file has {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        return _tree(path, header, metadata, memoryview(data)[8 + length :])
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"load: {path} is damaged: its header cannot be read: {error}") from error


def _tree(path: pathlib.Path, entries: dict[str, Any], metadata: dict[str, str], body: memoryview) -> dict[str, Any]:
    """The tree that a header and the bytes behind it describe."""
    arrays = {name: _array(path, name, entry, body) for name, entry in entries.items()}
    if "checksum" in metadata:
        raw = {name: body[slice(*entry["data_offsets"])] for name, entry in entries.items()}
        if _checksum(metadata, entries, raw) != metadata["checksum"]:
            raise ValueError(f"load: {path} is damaged, or was changed: its checksum is not that of its contents")
    paths, keys = json.loads(metadata.get("paths", "{}")), json.loads(metadata.get("keys", "{}"))
    tree: dict[str, Any] = {}
    for parts in json.loads(metadata.get("empty", "[]")):
        level = tree
        for part in parts:
            level = level.setdefault(part, {})
    for name, array in arrays.items():
        parts = paths.get(name, [name])
        level = tree
        for part in parts[:-1]:
            level = level.setdefault(part, {})
        level[parts[-1]] = jax.random.wrap_key_data(jnp.asarray(array), impl=keys[name]) if name in keys else array
    return tree


def _array(path: pathlib.Path, name: str, entry: Any, body: memoryview) -> jax.Array | np.ndarray:
    (start, end), shape = entry["data_offsets"], entry["shape"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"load: {path}: {name} has the unknown dtype {entry['dtype']}")
    dtype = _DTYPES[entry["dtype"]]
    size = math.prod(shape) * dtype.itemsize
    if end > len(body):
        raise ValueError(
            f"load: {path} is cut off: {name} should end after {end} bytes of arrays, the file has {len(body)}"
        )
    if min([start, *shape]) < 0 or end - start != size:
        raise ValueError(
            f"load: {path} is damaged: {name} should have {size} bytes from {start} on, it has {end - start}"
        )
    array = np.frombuffer(body[start:end], dtype).reshape(shape)
    # JAX would narrow it without a word; NumPy keeps it, and JAX takes it wherever it is used.
    return jnp.asarray(array) if jax.dtypes.canonicalize_dtype(dtype) == dtype else array.copy()
