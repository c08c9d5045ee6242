"""What is saved comes back as it was: dtypes that JAX would narrow, and dictionaries without entries."""

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
