"""Strict settings for every test: no silent rank promotion, two CPU devices, checked annotations."""

import gc
import os
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Each operation of a program is said with one line of Python otherwise, which takes a sixteenth of the tests' time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# A program is compiled once for the processes that run the tests and those that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.TemporaryDirectory(prefix="renga-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import jax
import pytest
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

# Tests compile for most of their time. These make XLA's CPU compiler several times as fast, and its programs slower. A
# test that needs the usual ones asks for them where it compiles (`compiler_options`). The last two are read when the
# backend starts; a release that no longer knows a flag would stop at it. RENGA_TEST_XLA=default leaves XLA as it is.
if os.environ.get("RENGA_TEST_XLA") != "default":
    quick = "--xla_backend_optimization_level=0"
    if jax.__version_info__ < (0, 11):
        quick += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes many objects that live on, which the garbage collector would look through again and again.
gc.set_threshold(50_000, 10, 10)

# Tests send signals to processes that they start, which would ignore what this one was started to ignore (nohup, &).
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Annotations of our own code are checked by beartype at every call.
install_import_hook("renga", "beartype.beartype")


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Drops compiled programs between modules once they are many: each has maps of memory, which slow the next."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 10_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def unchecked():
    """Turns the annotation checks off: for tests of our own error messages."""
    before = jaxtyping_config.jaxtyping_disable
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", before)


@pytest.fixture
def rank_promotion():
    """Allows implicit rank promotion: upstream packages rely on it."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def x64():
    """Runs a test in float64."""
    with jax.enable_x64(True):
        yield
