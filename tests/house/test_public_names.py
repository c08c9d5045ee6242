"""Every public package says what it exports, sorted and complete."""

import importlib
import pkgutil
import re
import types

import pytest

import renga


def public_packages():
    for info in pkgutil.walk_packages(renga.__path__, "renga."):
        parts = info.name.split(".")[1:]
        if info.ispkg and not any(part.startswith("_") for part in parts) and parts != ["cli"]:
            yield info.name


@pytest.mark.parametrize("name", sorted(public_packages()))
def test_all_is_sorted_and_complete(name):
    module = importlib.import_module(name)
    if name.startswith("renga.systems."):
        return  # a system's interface is that of renga/systems/__init__.py
    assert len(set(module.__all__)) == len(module.__all__)
    assert list(module.__all__) == sorted(module.__all__, key=_order)
    public = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and not isinstance(value, types.ModuleType)
    }
    foreign = {k for k in public if _is_foreign(getattr(module, k))}
    assert public - foreign <= set(module.__all__), "a public name is missing from __all__"
    assert all(hasattr(module, key) for key in module.__all__)


def _order(name: str) -> tuple[int, list]:
    """Constants, then classes, then functions, each by the alphabet and numbers by size: the order that ruff keeps."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _is_foreign(value: object) -> bool:
    """Whether a name was only imported to be used, such as `annotations` or `importlib`."""
    home = getattr(value, "__module__", None) or getattr(value, "__name__", "renga")
    return not str(home).startswith("renga")
