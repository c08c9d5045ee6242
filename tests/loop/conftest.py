"""The toy is compiled once for all tests and processes, and reports have no plots unless a test asks for them."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from renga.loop import _report

_plot = _report._plot


@pytest.fixture(scope="package", autouse=True)
def shared_compilations(tmp_path_factory):
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])
    compilation_cache.reset_cache()


@pytest.fixture(scope="package", autouse=True)
def no_plots(shared_compilations):
    _report._plot = lambda group, members, rows: ""
    yield
    _report._plot = _plot


@pytest.fixture
def plots(monkeypatch):
    monkeypatch.setattr(_report, "_plot", _plot)
