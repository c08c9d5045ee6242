"""Packages that an extra of Renga brings, asked for before anything is done."""

import importlib.util

INSTALLED_AS = {"PIL": "pillow", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn", "tomli_w": "tomli-w"}


def check_installed(function: str, *packages: str, extra: str = "all") -> None:
    """Checks that packages can be imported.

    Raises:
      ModuleNotFoundError: naming the function, the first package that is missing, and the extra that brings it.

    Example:
      >>> check_installed("run", "json")
      >>> check_installed("run", "a_package_of_nobody")
      Traceback (most recent call last):
      ModuleNotFoundError: run needs the package a_package_of_nobody: pip install 'renga[all]'
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            name = INSTALLED_AS.get(package, package)
            raise ModuleNotFoundError(
                f"{function} needs the package {name}: pip install 'renga[{extra}]'", name=package
            )
