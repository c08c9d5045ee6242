"""States that remember the learning rate of the last step beside what their fields say."""

from typing import Any

import jax
import numpy as np

from renga.optim._leaves import as_state_scalar
from renga.optim._transformation import EmptyState
from renga.optim._value import at_step

UNKNOWN = np.float32(np.nan)  # the rate of a state that was put together from its fields


class _Rated:
    """A named tuple with one value more, which is no field: programs see the tuple, JAX sees both."""

    effective_learning_rate: Any

    def __new__(cls, *fields: Any, effective_learning_rate: Any = UNKNOWN, **named: Any):
        self = super().__new__(cls, *fields, **named)
        self.effective_learning_rate = effective_learning_rate
        return self

    def _replace(self, **changes: Any):
        rate = changes.pop("effective_learning_rate", self.effective_learning_rate)
        # pyrefly: ignore[missing-attribute]
        return type(self)(**(self._asdict() | changes), effective_learning_rate=rate)

    def __reduce__(self):
        # pyrefly: ignore[bad-argument-type]
        return with_rate, (type(self).__mro__[2], tuple(self), self.effective_learning_rate)

    def __repr__(self) -> str:
        # pyrefly: ignore[missing-attribute]
        parts = self._asdict() | {"effective_learning_rate": self.effective_learning_rate}
        return f"{type(self).__name__}({', '.join(f'{name}={part!r}' for name, part in parts.items())})"


_CLASSES: dict[type, type] = {}


def rated(base: type) -> type:
    """A class of states like `base`, by its name too, whose values carry an `effective_learning_rate`."""
    if base not in _CLASSES:
        cls = type(base.__name__, (_Rated, base), {"__module__": base.__module__, "__doc__": base.__doc__})
        names = (*base._fields, "effective_learning_rate")
        keys = tuple(map(jax.tree_util.GetAttrKey, names))
        flatten = lambda s: ((*s, s.effective_learning_rate), None)
        jax.tree_util.register_pytree_with_keys(
            cls,
            lambda s: (tuple(zip(keys, flatten(s)[0], strict=True)), None),
            # pyrefly: ignore[bad-index]
            lambda _, parts: cls(*parts[:-1], effective_learning_rate=parts[-1]),
            flatten,
        )
        _CLASSES[base] = cls
    return _CLASSES[base]


def with_rate(base: type, fields: tuple[Any, ...], rate: Any) -> Any:
    """The state with these fields that remembers a learning rate, read by `renga.optim.read`."""
    return rated(base)(*fields, effective_learning_rate=rate)


def remember(state: Any, learning_rate: Any, count: Any) -> Any:
    """A plain state that remembers the learning rate of this step."""
    return with_rate(type(state), tuple(state), as_state_scalar(at_step(learning_rate, count)))


def rate_state(rate: Any) -> Any:
    """An empty state that remembers a learning rate."""
    return with_rate(EmptyState, (), as_state_scalar(rate))


ScaleByLearningRateState = rated(EmptyState)
