"""`renga --version`."""

import contextlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import renga

PACKAGES = (
    *("jax", "jaxlib", "numpy", "jaxtyping", "orbax-checkpoint", "safetensors", "tyro", "optuna"),
    *("pgx", "gymnasium", "ale-py", "gymnax", "craftax", "jumanji", "brax"),
)


def run(args: Sequence[str]) -> int:
    """Prints the version of Renga, and below it those of Python and of the packages that it uses, if they are there."""
    del args
    print(f"renga {renga.__version__}")
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    print(f"  {', '.join(found)}")
    return 0
