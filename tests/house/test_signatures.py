"""Every public function and class of a library says what it takes and what it gives."""

import enum
import importlib
import inspect
import pkgutil
import types

import pytest

import renga

PACKAGES = [
    m.name for m in pkgutil.iter_modules(renga.__path__) if m.ispkg and m.name not in ("_core", "systems", "cli", "web")
]


def public_callables(module, prefix=""):
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, types.ModuleType) and value.__name__.startswith(module.__name__):
            yield from public_callables(value, f"{prefix}{name}.")
        elif callable(value) and str(getattr(value, "__module__", "")).startswith("renga."):
            yield prefix + name, value


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_signature_is_annotated(package):
    bare = []
    for name, value in public_callables(importlib.import_module(f"renga.{package}")):
        if inspect.isclass(value) and (issubclass(value, enum.Enum) or getattr(value, "_is_protocol", False)):
            continue  # neither is called by a user
        try:
            signature = inspect.signature(value)
        except (TypeError, ValueError):
            continue
        missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        if not inspect.isclass(value) and inspect.isroutine(value) and signature.return_annotation is signature.empty:
            missing.append("the result")
        if missing:
            bare.append(f"{name}: {', '.join(missing)}")
    assert not bare, "without annotation:\n  " + "\n  ".join(bare)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    callables = public_callables(importlib.import_module(f"renga.{package}"))
    bare = [name for name, value in callables if not (inspect.getdoc(value) or "").strip()]
    assert not bare
