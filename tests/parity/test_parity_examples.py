"""The programs under examples/parity give the same numbers with the original libraries and with Renga."""

import importlib.util
import pathlib

import pytest

for library in ("haiku", "optax", "rlax", "mctx", "jraph", "distrax", "chex"):
    pytest.importorskip(library)

FILE = pathlib.Path(__file__).parents[2] / "examples" / "parity" / "run.py"
spec = importlib.util.spec_from_file_location("parity_run", FILE)
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


@pytest.mark.parametrize("name", run.NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # the originals'
@pytest.mark.usefixtures("rank_promotion")
def test_only_the_imports_of_a_program_change(name):
    run.compare(name)


def test_programs_are_run_with_the_libraries_of_renga():
    for name in run.NAMES:
        assert any(line in run.IMPORTS for line in (run.FOLDER / f"{name}.py").read_text().splitlines())
