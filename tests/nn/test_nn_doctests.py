"""Every docstring example runs."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import renga.nn
from renga import nn

MODULES = [info.name for info in pkgutil.walk_packages(renga.nn.__path__, prefix="renga.nn.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    names = {"jax": jax, "jnp": jnp, "np": np, "nn": nn}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    result = doctest.testmod(module, extraglobs=names, optionflags=flags)
    assert result.failed == 0
