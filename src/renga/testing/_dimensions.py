"""Sizes of axes by one letter each."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np


class Dimensions:
    """Names the sizes of axes, one letter each, and gives shapes for strings of letters.

    In a string, a letter stands for its size, a digit for itself, `*` for any size (None), and letters in brackets for
    one axis of the product of their sizes. Assigning a shape to a string sets the letters; `_` skips an axis.

    Args:
      **dim_sizes: sizes by letter.

    Raises:
      KeyError: if a letter has no size, or a name is not one letter.

    Example:
      >>> dims = Dimensions(B=3, T=5)
      >>> dims["BT"], dims["B*2"], dims["(BT)"]
      ((3, 5), (3, None, 2), (15,))
      >>> dims["_NM"] = jnp.ones((3, 7, 2)).shape
      >>> dims.N, dims.size("NM")
      (7, 14)
    """

    # Type checkers: any letter is an attribute.
    _HAS_DYNAMIC_ATTRIBUTES = True

    def __init__(self, **dim_sizes: Any) -> None:
        for name, size in dim_sizes.items():
            self._set(name, size)

    def _asdict(self) -> dict[str, Any]:
        return {name: size for name, size in vars(self).items() if not name.startswith("_") and len(name) == 1}

    def _set(self, name: str, size: Any) -> None:
        if not (isinstance(name, str) and len(name) == 1 and (name == "_" or (name.isascii() and name.isalpha()))):
            raise KeyError(f"Dimensions: the name of an axis must be one letter or '_', got {name!r}")
        if name == "_":
            return
        if size is not None:
            try:
                size = int(size)
            except (TypeError, ValueError) as error:
                raise TypeError(f"Dimensions: the size of {name!r} must be a number or None, got {size!r}") from error
        object.__setattr__(self, name, size)

    def _get(self, name: str) -> Any:
        if name == "*":
            return None
        if name.isdigit():
            return int(name)
        sizes = self._asdict()
        if name not in sizes:
            raise KeyError(f"Dimensions: {name!r} has no size; there are {', '.join(sorted(sizes)) or 'none'}")
        return sizes[name]

    def _groups(self, key: str) -> list[list[Any]]:
        if not isinstance(key, str):
            raise TypeError(f"Dimensions: a shape is asked for by a string of letters, got {key!r}")
        groups = re.findall(r"\(([^()]+)\)|([^()])", key)
        if sum(len(a) + 2 if a else 1 for a, _ in groups) != len(key) or any("*" in a for a, _ in groups):
            raise ValueError(f"Dimensions: brackets join axes of known sizes, as in '(BT)N', got {key!r}")
        return [[self._get(c) for c in a or b] for a, b in groups]

    def __getitem__(self, key: str) -> tuple[Any, ...]:
        groups = self._groups(key)
        return tuple(None if None in g else int(np.prod(g, dtype=int)) for g in groups)

    def __setitem__(self, key: str, value: Iterable[Any]) -> None:
        if not isinstance(key, str):
            raise TypeError(f"Dimensions: sizes are set by a string of letters, got {key!r}")
        sizes = tuple(value)  # a TypeError for what is no shape
        if len(sizes) != len(key):
            raise ValueError(f"Dimensions: {key!r} names {len(key)} axes, got the shape {sizes}")
        for name, size in zip(key, sizes, strict=True):
            self._set(name, size)

    def __delitem__(self, key: str) -> None:
        for name in key:
            if name != "_":
                self._get(name)
                object.__delattr__(self, name)

    def size(self, key: str) -> int:
        """Returns the number of elements of a shape.

        Args:
          key: letters, as for the shape.

        Raises:
          ValueError: if an axis has any size.

        Example:
          >>> Dimensions(B=3, T=5).size("BT")
          15
        """
        shape = self[key]
        if None in shape:
            raise ValueError(f"Dimensions.size: {key!r} has an axis of any size, and so no number of elements")
        return int(np.prod(shape, dtype=int))

    def __repr__(self) -> str:
        return f"Dimensions({', '.join(f'{k}={v}' for k, v in sorted(self._asdict().items()))})"
