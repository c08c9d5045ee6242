"""Every public package says what it exports, sorted and complete."""

import dataclasses
import importlib
import pkgutil
import re
import types

import pytest

import renga
from renga import systems


def public_packages():
    for info in pkgutil.walk_packages(renga.__path__, "renga."):
        parts = info.name.split(".")[1:]
        private = any(part.startswith("_") for part in parts)
        if info.ispkg and not private and parts != ["cli"] and not (parts[0] == "systems" and parts[1:]):
            yield info.name


@pytest.mark.parametrize("name", sorted(public_packages()))
def test_all_is_sorted_and_complete(name):
    module = importlib.import_module(name)
    check_order(module)
    foreign = {k for k in public_names(module) if _is_foreign(getattr(module, k))}
    assert public_names(module) - foreign <= set(module.__all__), "a public name is missing from __all__"


@pytest.mark.parametrize("name", systems.names())
def test_a_system_has_its_interface_and_exports_what_it_defines(name):
    system = systems.get(name)
    check_order(system)
    own = {k for k in public_names(system) if getattr(getattr(system, k), "__module__", "") == system.__name__}
    assert own <= set(system.__all__), "a public name is missing from __all__"
    assert {"Config", "STEPS", "make"} <= set(system.__all__)
    assert dataclasses.is_dataclass(system.Config)
    assert hash(system.Config()) == hash(system.Config()), "it is frozen"
    assert isinstance(system.STEPS, int)
    presets = getattr(system, "PRESETS", {})
    for config, steps in presets.values():
        assert isinstance(config, system.Config)
        assert isinstance(steps, int)
        system.make(config)  # refuses settings that cannot go together
    extras = {"PRESETS", "pictures", "advise", "evaluate", "export"}
    assert {key for key in extras if hasattr(system, key)} <= set(system.__all__)


def public_names(module):
    return {k for k, v in vars(module).items() if not k.startswith("_") and not isinstance(v, types.ModuleType)}


def check_order(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert list(module.__all__) == sorted(module.__all__, key=_order)
    assert all(hasattr(module, key) for key in module.__all__)


def _order(name: str) -> tuple[int, list]:
    """Constants, then classes, then functions, each by the alphabet and numbers by size: the order that ruff keeps."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _is_foreign(value: object) -> bool:
    """Whether a name was only imported to be used, such as `annotations` or `importlib`."""
    home = getattr(value, "__module__", None) or getattr(value, "__name__", "renga")
    return not str(home).startswith("renga")
