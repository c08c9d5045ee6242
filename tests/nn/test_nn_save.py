"""What is saved comes back as it was: dtypes that JAX would narrow, and dictionaries without entries."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import nn


def back(tmp_path, tree):
    nn.save(tmp_path / "x.safetensors", tree)
    return nn.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint64])
def test_wide_numbers_are_not_narrowed(tmp_path, dtype):
    value = np.array([2**53 - 1, 3]).astype(dtype)
    loaded = back(tmp_path, {"a": {"w": value, "x": np.ones(2, np.float32)}})["a"]
    assert loaded["w"].dtype == dtype
    assert isinstance(loaded["w"], np.ndarray)
    np.testing.assert_array_equal(loaded["w"], value)
    loaded["w"][0] = 1  # an array of one's own
    assert isinstance(loaded["x"], jax.Array)
    with jax.enable_x64(True):
        wide = nn.load(tmp_path / "x.safetensors")["a"]["w"]
        assert isinstance(wide, jax.Array)
        assert wide.dtype == dtype


def test_empty_dictionaries_come_back(tmp_path):
    for tree in ({}, {"params": {"a": {}}, "state": {}}, {"a": {"b": {}, "w": jnp.ones(1)}}):
        loaded = back(tmp_path, tree)
        assert jax.tree.structure(loaded) == jax.tree.structure(tree)
        assert str(loaded) == str(tree)


def test_python_numbers_have_the_dtypes_of_jax(tmp_path):
    loaded = back(tmp_path, {"f": 0.5, "i": 3, "long": 2**40})
    assert [loaded[name].dtype for name in ("f", "i", "long")] == [np.float32, np.int32, np.int64]
    assert loaded["long"] == 2**40


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "path must be that of a file, got the directory"), ("no/x", "path must be in a directory")],
)
def test_where_no_file_can_be_nothing_is_written(name, message, tmp_path):
    with pytest.raises(OSError, match=f"save: {message}"):
        nn.save(tmp_path / name, {"w": np.ones(3)})
    assert not list(tmp_path.iterdir())
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))


def test_a_file_that_could_not_be_written_leaves_nothing_and_is_named(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(OSError, match="No space left on device: '[^']*x.safetensors'$"):
        nn.save(tmp_path / "x.safetensors", {"w": np.ones(3)})
    assert not list(tmp_path.iterdir())


def test_any_byte_that_is_changed_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    w, b = np.arange(8, dtype=np.float32), jnp.ones(2, jnp.bfloat16)
    nn.save(path, {"a": {"w": w, "b": b}, "key": jax.random.key(1), "none": {}})
    whole = str(nn.load(path))
    data = path.read_bytes()
    for at in sorted({*range(0, len(data), 3), *range(12)}):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            said = str(nn.load(path))
        except ValueError as error:
            said = str(error)
        # What is not read may change: the name of the checksum is such.
        assert said.startswith(f"load: {path}") or said == whole, at


@pytest.mark.parametrize(
    "header",
    [
        {"w": 1},
        {"w": {"dtype": "F32", "shape": [1]}},
        {"w": {"dtype": "F32", "shape": "one", "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}},
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"__metadata__": {"paths": "{"}},
        {"__metadata__": 3},
    ],
)
def test_a_header_that_cannot_be_is_said(header, tmp_path):
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ValueError, match=r"load: .*/x is (damaged|cut off)"):
        nn.load(tmp_path / "x")


def test_what_is_no_such_file_is_said(tmp_path):
    (tmp_path / "config.json").write_text('{"system": "dqn", "config": {}}')
    with pytest.raises(ValueError, match=r"config.json is not a safetensors file$"):
        nn.load(tmp_path / "config.json")
