"""Every function takes what rlax's takes, in the same order and with the same defaults; what we add comes after."""

import inspect

import pytest

from renga import rl

rlax = pytest.importorskip("rlax")


def functions():
    for name in rl.__all__:
        theirs = getattr(rlax, name, None)
        if inspect.isfunction(theirs) and not _hides_parameters(theirs):
            yield name


def _hides_parameters(function):
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", sorted(functions()))
def test_parameters_and_defaults_are_those_of_rlax(name):
    ours = list(inspect.signature(getattr(rl, name)).parameters.values())
    theirs = list(inspect.signature(getattr(rlax, name)).parameters.values())
    assert [p.name for p in ours][: len(theirs)] == [p.name for p in theirs]
    for mine, yours in zip(ours, theirs, strict=False):
        assert (mine.default is mine.empty) == (yours.default is yours.empty), mine.name
        if isinstance(yours.default, bool | int | float | str | type(None)):
            assert mine.default == yours.default, mine.name
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :]), "what we add is keyword-only"
