"""Importing one library brings no other along, starts no backend, and loads nothing heavy."""

import json
import os
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import renga

LIBRARIES = ("nn", "optim", "rl", "search", "graph", "dist", "testing")
THERE = sorted(m.name for m in pkgutil.iter_modules(renga.__path__) if m.name in LIBRARIES)

# What importing jax itself brings along is not ours to judge.
PROBE = """
import json, sys
import jax, jax.numpy, jaxtyping
before = set(sys.modules)
import renga.{library}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.fixture(scope="module")
def imported():
    """What each library brings along, each imported in a process of its own, where no backend can start."""
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform"}
    probes = {
        library: subprocess.Popen(
            [sys.executable, "-c", PROBE.format(library=library)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for library in THERE
    }
    return {library: (probe.communicate(timeout=120)[0], probe.returncode) for library, probe in probes.items()}


def brought_along(library, imported):
    output, returncode = imported[library]
    assert returncode == 0, f"importing renga.{library} failed without a backend"
    return json.loads(output)


@pytest.mark.parametrize("library", THERE)
def test_a_library_brings_no_sibling_along(library, imported):
    siblings = {f"renga.{name}" for name in LIBRARIES} - {f"renga.{library}"}
    upper = {f"renga.{name}" for name in ("systems", "loop", "data", "envs", "cli", "web")}
    assert not (siblings | upper) & set(brought_along(library, imported))


def test_every_library_is_an_attribute_of_the_package_and_has_its_version():
    libraries = {m.name for m in pkgutil.iter_modules(renga.__path__) if m.ispkg} - {"_core", "cli"}
    assert libraries <= set(dir(renga))
    for name in libraries:
        assert renga.__getattr__(name).__version__ == renga.__version__  # as it is before anything has imported it
    with pytest.raises(AttributeError, match="module 'renga' has no attribute 'optimisers'"):
        renga.optimisers


@pytest.mark.parametrize("library", THERE)
def test_a_library_starts_no_backend(library, imported):
    assert f"renga.{library}" in brought_along(library, imported)


def test_a_module_that_makes_an_array_on_import_would_be_noticed():
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform"}
    code = "import jax.numpy as jnp; jnp.zeros(1)"
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode != 0


@pytest.mark.parametrize("library", THERE)
def test_a_library_loads_nothing_heavy(library, imported):
    packages = {name.partition(".")[0] for name in brought_along(library, imported)}
    ours = {"renga", "jax", "jaxlib", "numpy", "jaxtyping", "ml_dtypes", "opt_einsum", "wadler_lindig"}
    heavy = {p for p in packages - ours if p not in sys.stdlib_module_names and not p.startswith("_")}
    assert not heavy


def test_the_package_itself_imports_nothing():
    code = "import sys; before = set(sys.modules); import renga; print(sorted(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['renga']"


def test_the_picture_of_the_house_is_drawn_from_its_imports(monkeypatch):
    docs = pathlib.Path(__file__).parents[2] / "docs"
    monkeypatch.syspath_prepend(docs)
    architecture = pytest.importorskip("architecture", exc_type=ImportError)
    assert architecture.drawn() == (docs / "architecture.svg").read_text(), "run python docs/architecture.py"
