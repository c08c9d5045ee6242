"""Chains: one transformation after the other."""
# ruff: noqa: N801

import collections
from typing import Any

from renga.optim._transformation import GradientTransformationExtraArgs, as_transformation
from renga.optim._types import OptState, Params, Stepped, Updates
from renga.optim._value import show, static, value


@value
class chain(GradientTransformationExtraArgs):
    """Applies transformations one after the other.

    The state is the tuple of their states. Members may come from elsewhere: anything with
    `init` and `update`. Extra arguments of `update` reach those members that take them.

    Args:
      *args: transformations, the first one sees the gradients.

    Raises:
      TypeError: if a member has no `init` and `update`.
      ValueError: if the state does not have one part a member.

    Example:
      >>> from renga.optim import scale
      >>> tx = chain(scale(2.0), scale(-0.5))
      >>> tx
      chain(
        scale(step_size=2.0),
        scale(step_size=-0.5),
      )
      >>> tx.update(3.0, tx.init(0.0))[0]
      Array(-3., dtype=float32)
    """

    transforms: tuple[Any, ...]

    def __init__(self, *args: Any):
        members = tuple(as_transformation("chain", f"member {i}", tx) for i, tx in enumerate(args))
        object.__setattr__(self, "transforms", members)

    def init(self, params: Params) -> OptState:
        """Makes the tuple of the members' states."""
        return tuple(tx.init(params) for tx in self.transforms)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Hands the updates from member to member."""
        if not isinstance(state, tuple | list) or len(state) != len(self.transforms):
            raise ValueError(
                f"chain: state must have one part a member, expected {len(self.transforms)}, got "
                f"{len(state) if isinstance(state, tuple | list) else state}; was it made by another chain's init?"
            )
        after = []
        for tx, part in zip(self.transforms, state, strict=True):
            updates, part = tx.update(updates, part, params, **extra_args)
            after.append(part)
        return updates, tuple(after)

    def __repr__(self) -> str:
        return show_members("chain", [repr(tx) for tx in self.transforms])


@value
class named_chain(GradientTransformationExtraArgs):
    """A chain whose members have names; the state is an ordered dict by name.

    Args:
      *args: pairs (name, transformation).

    Raises:
      ValueError: if a name occurs twice.
      TypeError: if a member is not such a pair.

    Example:
      >>> from renga.optim import scale, trace
      >>> tx = named_chain(("momentum", trace(0.9)), ("step", scale(-0.1)))
      >>> list(tx.init(0.0))
      ['momentum', 'step']
    """

    names: tuple[str, ...] = static()
    transforms: tuple[Any, ...]

    def __init__(self, *args: tuple[str, Any]):
        for pair in args:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
                raise TypeError(f"named_chain: each argument must be a pair (name, transformation), got {pair!r}")
        names = tuple(name for name, _ in args)
        if len(set(names)) < len(names):
            raise ValueError(f"named_chain: names must be unique, got {', '.join(names)}")
        members = tuple(as_transformation("named_chain", repr(name), tx) for name, tx in args)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "transforms", members)

    def init(self, params: Params) -> OptState:
        """Makes the members' states by name."""
        return collections.OrderedDict(
            (name, tx.init(params)) for name, tx in zip(self.names, self.transforms, strict=True)
        )

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any) -> Stepped:
        """Hands the updates from member to member."""
        if set(state) != set(self.names):
            raise ValueError(f"named_chain: state must have the parts {', '.join(self.names)}, got {', '.join(state)}")
        after = collections.OrderedDict()
        for name, tx in zip(self.names, self.transforms, strict=True):
            updates, after[name] = tx.update(updates, state[name], params, **extra_args)
        return updates, after

    def __repr__(self) -> str:
        members = zip(self.names, self.transforms, strict=True)
        return show_members("named_chain", [f"({n!r}, {show(tx)})" for n, tx in members])


def show_members(name: str, members: list[str]) -> str:
    """A call with one member a line."""
    lines = [line for m in members for line in f"{m},".splitlines()]
    body = "".join(f"\n  {line}" for line in lines)
    return f"{name}({body}\n)" if members else f"{name}()"
