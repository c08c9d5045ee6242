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
        is_result = inspect.isclass(value) and issubclass(value, tuple)
        texts = {p.name: str(p.annotation) for p in signature.parameters.values() if not is_result}
        missing += [f"str for {key}" for key, text in texts.items() if "Path" in text and "str" not in text]
        if not inspect.isclass(value) and inspect.isroutine(value) and signature.return_annotation is signature.empty:
            missing.append("the result")
        if missing:
            bare.append(f"{name}: {', '.join(missing)}")
    assert not bare, "without annotation:\n  " + "\n  ".join(bare)


def public_methods(cls):
    """What a user calls on an instance, wherever in the library it is written."""
    seen = set()
    for owner in cls.__mro__:
        for name, value in vars(owner).items() if owner.__module__.startswith("renga.") else ():
            public = not name.startswith("_") or name in ("__call__", "__getitem__", "__iter__", "__len__")
            if not public or name in seen:
                continue
            seen.add(name)
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            function = inspect.unwrap(getattr(function, "func", function))  # of a cached property
            if inspect.isfunction(function) and function.__module__.startswith("renga."):
                yield f"{owner.__qualname__}.{name}", function, isinstance(value, staticmethod)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_method_is_annotated(package):
    bare = {}
    for _, cls in public_callables(importlib.import_module(f"renga.{package}")):
        for name, method, is_static in public_methods(cls) if inspect.isclass(cls) else ():
            signature = inspect.signature(method)
            taken = list(signature.parameters.values())[0 if is_static else 1 :]
            missing = [p.name for p in taken if p.annotation is p.empty]
            missing += ["the result"] if signature.return_annotation is signature.empty else []
            if missing:
                bare[f"{method.__module__}: {name}"] = ", ".join(missing)
    assert not bare, "without annotation:\n  " + "\n  ".join(f"{name}: {what}" for name, what in sorted(bare.items()))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    callables = public_callables(importlib.import_module(f"renga.{package}"))
    bare = [name for name, value in callables if not (inspect.getdoc(value) or "").strip()]
    assert not bare
