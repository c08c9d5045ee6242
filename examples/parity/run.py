"""Runs the programs of this folder with the original libraries and with Renga, and compares the results."""

import pathlib
import re
import sys
import types
from typing import Any

import jax
import numpy as np

FOLDER = pathlib.Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "run")
IMPORTS = {
    "import haiku as hk": "from renga import nn as hk",
    "import optax": "from renga import optim as optax",
    "import rlax": "from renga import rl as rlax",
    "import mctx": "from renga import search as mctx",
    "import jraph": "from renga import graph as jraph",
    "import distrax": "from renga import dist as distrax",
    "import chex": "from renga import testing as chex",
}


def result(name: str, renga: bool) -> Any:
    """What `main` of the program returns, with its own imports or with Renga's."""
    source = (FOLDER / f"{name}.py").read_text()
    if renga:
        source = re.sub(r"^import .*$", lambda line: IMPORTS.get(line[0], line[0]), source, flags=re.MULTILINE)
    program = types.ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), program.__dict__)
    return program.main()


def compare(name: str) -> None:
    """Raises AssertionError where the two results differ in structure or in numbers."""
    theirs, ours = result(name, renga=False), result(name, renga=True)
    assert jax.tree.structure(theirs) == jax.tree.structure(ours)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5), theirs, ours)


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        compare(name)
        print(f"{name}: the same numbers")
