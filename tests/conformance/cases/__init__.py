"""The table of the conformance matrix, one file a library."""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of a public function that must survive every transformation.

    `fn(*args)` takes trees of arrays only: bind everything static with a lambda or `functools.partial`.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] | Callable[[], tuple[Any, ...]]  # a function defers making arrays
    differentiable: bool = True  # False: skip grad, and say why in a comment beside it
    rtol: float = 1e-5
    atol: float = 1e-6
