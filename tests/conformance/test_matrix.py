"""Every public function of every library under every transformation, from one table."""

import importlib
import importlib.util
import pkgutil
import types

import jax
import pytest

import renga
from renga.testing import check_transforms

from . import cases

# Custom rules that are not the derivative of their function, on purpose.
DELIBERATE = {"optim.scale_gradient", "optim.contrib.scale_gradient", "rl.clip_gradient"}

# A library that is not finished yet may not be in the table; everything else must.
LIBRARIES = sorted(
    name
    for name in ("nn", "optim", "rl", "search", "graph", "dist", "envs", "data", "testing")
    if importlib.util.find_spec(f"renga.{name}")
)


def table(library: str) -> types.ModuleType:
    return importlib.import_module(f"{cases.__name__}.{library}")


def public_names(module: types.ModuleType, prefix: str = "") -> dict[str, object]:
    """All callables that a library exports by name, those of its public submodules with a dot."""
    names = {}
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, types.ModuleType):
            names |= public_names(value, f"{prefix}{name}.")
        elif callable(value):
            names[prefix + name] = value
    return names


ALL_CASES = [
    pytest.param(case, f"{library}.{name}".split("/")[0] not in DELIBERATE, id=f"{library}.{name}")
    for library in LIBRARIES
    for name, case in table(library).CASES.items()
]


@pytest.mark.parametrize(("case", "custom_rules"), ALL_CASES)
def test_function_is_the_same_under_every_transformation(case, custom_rules):
    args = case.args() if callable(case.args) else case.args
    # Not run operation by operation, each a program to compile: the examples of docstrings do that.
    check_transforms(
        jax.jit(case.fn),  # traced once
        *args,
        differentiable=case.differentiable,
        rtol=case.rtol,
        atol=case.atol,
        custom_rules=custom_rules,
        eager=False,
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_public_function_is_in_the_table_or_exempt_with_a_reason(library):
    module = importlib.import_module(f"renga.{library}")
    cases_of = set(table(library).CASES)
    exempt = table(library).EXEMPT
    # A case may stand for a method or a variant: "Linear/without_bias" covers "Linear".
    covered = {name.split("/")[0] for name in cases_of} | set(exempt)
    names = public_names(module)
    # One object under two names (`softmax_cross_entropy`, `losses.softmax_cross_entropy`) needs one case.
    objects = {id(names[name]) for name in covered & set(names)}
    missing = {name for name, value in names.items() if name not in covered and id(value) not in objects}
    assert not missing, "public, but neither in CASES nor in EXEMPT"
    assert not covered - set(names), "in the table, but not public"
    assert not {name.split("/")[0] for name in cases_of} & set(exempt)
    assert all(len(reason) > 5 for reason in exempt.values())


def test_no_library_is_left_out():
    found = {m.name for m in pkgutil.iter_modules(renga.__path__) if m.ispkg and not m.name.startswith("_")}
    assert found - {"loop", "systems", "cli", "web"} == set(LIBRARIES)
