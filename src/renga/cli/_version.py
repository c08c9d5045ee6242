"""`renga --version`."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import renga


def run(args: Sequence[str]) -> int:
    """Prints the version of Renga, and in one line those of what it is built on."""
    del args
    found = [f"Python {platform.python_version()}"]
    for package in ("jax", "jaxlib", "numpy"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    print(f"renga {renga.__version__} ({', '.join(found)})")
    return 0
