"""Padding of convolutions, as functions of the size that a kernel spans."""

from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "PadFn",
    "causal",
    "create",
    "create_from_padfn",
    "create_from_tuple",
    "full",
    "is_padfn",
    "reverse_causal",
    "same",
    "valid",
]

# effective kernel size -> padding before and after.
PadFn = Callable[[int], tuple[int, int]]


def valid(effective_kernel_size: int) -> tuple[int, int]:
    """No padding: the output shrinks by the kernel.

    Example:
      >>> valid(5)
      (0, 0)
    """
    return (0, 0)


def same(effective_kernel_size: int) -> tuple[int, int]:
    """Padding that keeps the size at stride 1; of an odd number, the larger half goes to the end.

    Example:
      >>> same(4)
      (1, 2)
    """
    return ((effective_kernel_size - 1) // 2, effective_kernel_size // 2)


def full(effective_kernel_size: int) -> tuple[int, int]:
    """Padding for every position in which kernel and input overlap at all.

    Example:
      >>> full(3)
      (2, 2)
    """
    return (effective_kernel_size - 1, effective_kernel_size - 1)


def causal(effective_kernel_size: int) -> tuple[int, int]:
    """Padding at the start only: no output sees a later input.

    Example:
      >>> causal(3)
      (2, 0)
    """
    return (effective_kernel_size - 1, 0)


def reverse_causal(effective_kernel_size: int) -> tuple[int, int]:
    """Padding at the end only: no output sees an earlier input.

    Example:
      >>> reverse_causal(3)
      (0, 2)
    """
    return (0, effective_kernel_size - 1)


def is_padfn(padding: Any) -> bool:
    """Whether a padding is given by functions: one, or a sequence of one for each axis.

    Example:
      >>> is_padfn(same), is_padfn([same, causal]), is_padfn("SAME"), is_padfn((1, 1))
      (True, True, False, False)
    """
    if isinstance(padding, Sequence) and not isinstance(padding, str) and padding:
        padding = padding[0]
    return callable(padding)


def create(padding: Any, kernel: int | Sequence[int], rate: int | Sequence[int], n: int) -> Sequence[tuple[int, int]]:
    """Turns a padding, given by functions or by numbers, into pairs for each axis.

    Args:
      padding: a function, a pair, or a sequence of n of either.
      kernel: sizes of the kernel.
      rate: dilations of the kernel.
      n: number of axes.

    Returns:
      n pairs (before, after).

    Example:
      >>> create(same, kernel=3, rate=2, n=2)
      ((2, 2), (2, 2))
    """
    if is_padfn(padding):
        return create_from_padfn(padding, kernel, rate, n)
    return create_from_tuple(padding, n)


def create_from_padfn(
    padding: PadFn | Sequence[PadFn],
    kernel: int | Sequence[int],
    rate: int | Sequence[int],
    n: int,
) -> Sequence[tuple[int, int]]:
    """Turns padding functions into pairs for each axis.

    A kernel of size k and rate r spans (k - 1) r + 1 elements.

    Raises:
      TypeError: if a sequence has neither 1 nor n elements.

    Example:
      >>> create_from_padfn([same, causal], kernel=3, rate=1, n=2)
      ((1, 1), (2, 0))
    """
    functions = replicate(padding, n, "padding")
    kernels = replicate(kernel, n, "kernel_shape")
    rates = replicate(rate, n, "rate")
    return tuple(tuple(f((k - 1) * r + 1)) for f, k, r in zip(functions, kernels, rates, strict=True))


def create_from_tuple(padding: Any, n: int) -> Sequence[tuple[int, int]]:
    """Turns a pair, or a sequence of n pairs, into pairs for each axis.

    Raises:
      TypeError: if a sequence has neither 1 nor n elements.

    Example:
      >>> create_from_tuple((1, 2), n=2)
      ((1, 2), (1, 2))
    """
    if all(isinstance(p, int) for p in padding):
        padding = [padding]
    return tuple(tuple(p) for p in replicate(padding, n, "padding"))


def replicate(element: Any, n: int, name: str) -> tuple[Any, ...]:
    """One value for each of n axes.

    Raises:
      TypeError: if a sequence has neither 1 nor n elements.
    """
    if not isinstance(element, Sequence) or isinstance(element, str):
        return (element,) * n
    if len(element) == 1:
        return tuple(element) * n
    if len(element) == n:
        return tuple(element)
    raise TypeError(f"{name} must be a scalar or a sequence of length 1 or {n}, got {element!r}")
