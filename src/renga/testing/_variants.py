"""One test in several variants, for absl's test cases and for pytest."""

import functools
import inspect
import itertools
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from renga.testing._variant_kinds import ChexVariantType, make_variant, skip_without_devices

_NONE = "__no__default__"


class VariantsTestCaseGenerator:
    """A test method in several variants: an iterable that absl's parameterized test cases unfold."""

    def __init__(self, test_method: Any, kinds: Sequence[ChexVariantType]) -> None:
        self._test_method, self._kinds = test_method, kinds
        name = getattr(test_method, "__name__", None) or getattr(test_method, "_original_name", "test")
        self.__name__, self.__doc__ = name, getattr(test_method, "__doc__", None)

    def __call__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(
            f"{self.__name__}: variants belong to the methods of renga.testing.TestCase (or absl's "
            "parameterized.TestCase), outermost of their decorators; a function of pytest needs a parameter `variant`"
        )

    def __set_name__(self, owner: type, name: str) -> None:
        # In a class of pytest, which is no TestCase, the test takes the variant as a parameter.
        if not issubclass(owner, unittest.TestCase) and "variant" in _parameters(self._test_method):
            setattr(owner, name, _parametrised(self._test_method, self._kinds))

    def add_variants(self, kinds: Iterable[ChexVariantType]) -> "VariantsTestCaseGenerator":
        """Returns the test with more variants."""
        return VariantsTestCaseGenerator(self._test_method, [*dict.fromkeys((*self._kinds, *kinds))])

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        several = isinstance(self._test_method, Iterable)
        methods = list(self._test_method) if several else [self._test_method]
        for i, method in enumerate(methods):
            name = method.__name__
            if several and not getattr(method, "__x_use_name__", False):
                name = f"{name}{i}"
            for kind in self._kinds:
                yield _bound(method, name, kind)


def _bound(method: Callable[..., Any], name: str, kind: ChexVariantType) -> Callable[..., Any]:
    @functools.wraps(method)
    def test(self: Any, *args: Any, **kwargs: Any) -> Any:
        skip_without_devices(kind)
        self.variant = make_variant(kind)
        try:
            return method(self, *args, **kwargs)
        finally:
            del self.variant

    test.__name__ = f"{name}_{kind}"
    test.__x_use_name__ = True  # pyrefly: ignore[missing-attribute]
    return test


def _parameters(test_method: Any) -> list[str]:
    try:
        return list(inspect.signature(test_method).parameters)
    except (TypeError, ValueError):
        return []


def _is_for_pytest(test_method: Any) -> bool:
    parameters = _parameters(test_method)
    return "variant" in parameters and parameters[0] != "self"


def _parametrised(test_method: Any, kinds: Sequence[ChexVariantType]) -> Any:
    import pytest

    marks = [pytest.mark.skipif("__import__('jax').device_count() < 2", reason="with_pmap needs two devices")]
    params = [
        pytest.param(make_variant(k), id=k.name.lower(), marks=marks * (k is ChexVariantType.WITH_PMAP)) for k in kinds
    ]
    return pytest.mark.parametrize("variant", params)(test_method)


def _variants(test_method: Any, name: str, **chosen: bool) -> Any:
    kinds = [kind for kind in ChexVariantType if chosen[kind.name.lower()]]
    if not kinds:
        raise ValueError(f"{name}: at least one variant must be chosen")

    def decorate(test: Any) -> Any:
        if isinstance(test, VariantsTestCaseGenerator):
            return test.add_variants(kinds)
        if isinstance(test, type):
            raise TypeError(f"{name}: decorates a test, and {test.__name__} is a class")
        return _parametrised(test, kinds) if _is_for_pytest(test) else VariantsTestCaseGenerator(test, kinds)

    return decorate if isinstance(test_method, str) and test_method == _NONE else decorate(test_method)


def variants(
    test_method: Any = _NONE,
    with_jit: bool = False,
    without_jit: bool = False,
    with_device: bool = False,
    without_device: bool = False,
    with_pmap: bool = False,
) -> Any:
    """Runs a test once for each chosen variant.

    In a method of `TestCase`, `self.variant(fn)` is the function under test in that variant; it is the outermost of
    the test's decorators. A function of pytest takes a parameter `variant` in its place. Options go to the variants
    that know them: `variant(fn, static_argnums=1)`; `ignore_argnums` are left where they are, and for `with_pmap`
    there are `in_axes`, `axis_name`, `n_devices`, `devices`, `broadcast_args_to_devices` and `reduce_fn` (a function
    of the result of all devices, "first_device_output" or None).

    Args:
      test_method: the test; without it, a decorator is returned.
      with_jit: compiled.
      without_jit: as plain Python.
      with_device: with arguments on the device.
      without_device: with arguments of NumPy.
      with_pmap: on all devices, with the same arguments on each. Skipped where there is one device.

    Returns:
      The test in variants, or a decorator.

    Raises:
      ValueError: if no variant is chosen.

    Example:
      >>> @variants(with_jit=True, without_jit=True)
      ... def test_double(variant):
      ...     assert variant(lambda x: 2 * x)(1.0) == 2.0
    """
    return _variants(
        test_method,
        "variants",
        with_jit=with_jit,
        without_jit=without_jit,
        with_device=with_device,
        without_device=without_device,
        with_pmap=with_pmap,
    )


def all_variants(
    test_method: Any = _NONE,
    with_jit: bool = True,
    without_jit: bool = True,
    with_device: bool = True,
    without_device: bool = True,
    with_pmap: bool = True,
) -> Any:
    """Runs a test in all variants but those that are excluded. See `variants`.

    Args:
      test_method: the test; without it, a decorator is returned.
      with_jit: compiled.
      without_jit: as plain Python.
      with_device: with arguments on the device.
      without_device: with arguments of NumPy.
      with_pmap: on all devices, with the same arguments on each. Skipped where there is one device.

    Returns:
      The test in variants, or a decorator.

    Example:
      >>> @all_variants(with_pmap=False)
      ... def test_double(variant):
      ...     assert variant(lambda x: 2 * x)(1.0) == 2.0
    """
    return _variants(
        test_method,
        "all_variants",
        with_jit=with_jit,
        without_jit=without_jit,
        with_device=with_device,
        without_device=without_device,
        with_pmap=with_pmap,
    )


def params_product(*params_lists: Iterable[Any], named: bool = False) -> list[tuple[Any, ...]]:
    """Joins lists of test parameters to their product.

    Args:
      *params_lists: lists of tuples of parameters.
      named: whether the first entry of each tuple is a name; the names are joined by `_`.

    Returns:
      One tuple for each choice of one tuple from each list.

    Example:
      >>> params_product([("x", 1), ("y", 2)], [("a", 3)], named=True)
      [('x_a', 1, 3), ('y_a', 2, 3)]
    """
    product = []
    for choice in itertools.product(*params_lists):
        for part in choice:
            if not isinstance(part, list | tuple):
                raise TypeError(f"params_product: parameters must be tuples, got {part!r}")
        start = 1 if named else 0
        if named and not all(isinstance(part[0], str) for part in choice):
            raise TypeError(f"params_product: each tuple must begin with a name, got {choice!r}")
        name = ("_".join(part[0] for part in choice),) if named else ()
        product.append(name + tuple(itertools.chain.from_iterable(part[start:] for part in choice)))
    return product


@functools.cache
def make_test_case() -> type:
    """Makes `TestCase`: absl is imported where it is used."""
    from absl.testing import parameterized

    class TestCase(parameterized.TestCase):
        """A test case of absl whose methods can have `variants`."""

        def __init__(self, methodName: str = "runTest") -> None:
            super().__init__(methodName)

        def variant(self, *args: Any, **kwargs: Any) -> Any:
            """Returns a function in the variant of the running test; see `variants`.

            Args:
              *args: the function; without it, a decorator is returned.
              **kwargs: options of the variant.

            Raises:
              RuntimeError: in a test without variants.
            """
            raise RuntimeError(f"{self.id()}: there is no variant: decorate the test by variants or all_variants")

    TestCase.__module__, TestCase.__qualname__ = "renga.testing", "TestCase"
    return TestCase
