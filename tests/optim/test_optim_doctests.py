"""Every docstring example runs."""

import doctest
import importlib
import pkgutil

import pytest

import renga.optim

MODULES = [info.name for info in pkgutil.walk_packages(renga.optim.__path__, prefix="renga.optim.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
