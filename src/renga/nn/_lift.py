"""Pure functions inside of transformed functions: their parameters become the outer function's."""

from collections.abc import Callable, Mapping
from typing import Any

from renga.nn._errors import NonEmptyStateError
from renga.nn._frame import StatePair, current_frame
from renga.nn._module import Module
from renga.nn._rng import describe


class _Lifted(Module):
    """Stands for a lifted function in the names of its parameters."""


class _Lift:
    """Files the parameters and states of an inner `init` under a prefix."""

    def __init__(
        self,
        who: str,
        init_fn: Callable[..., Any],
        allow_reuse: bool,
        name: str | None,
        with_state: bool,
    ):
        frame = current_frame(who)
        if not callable(init_fn):
            raise TypeError(f"{who}: init_fn must be a function, the init of a transformed one, got {init_fn!r}")
        self.who = who
        self.init_fn = init_fn
        self.allow_reuse = allow_reuse
        self.with_state = with_state
        self.transparent = name is None
        if name is None:
            self.prefix = frame.scope.prefix()
        else:
            self.prefix = _Lifted(name=name).module_name + "/"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """In `init`, runs the inner `init` and files what it made; in `apply`, finds it again."""
        frame = current_frame(self.who)
        if frame.settled:
            params = _below(self.prefix, frame.params)
            if not self.with_state:
                return params
            state = _below(self.prefix, frame.state)
            return params, {b: {n: pair.current for n, pair in v.items()} for b, v in state.items()}
        before = frame.lifting, frame.lifts_openly
        frame.lifting, frame.lifts_openly = self.prefix.removesuffix("/"), self.transparent
        try:
            made = self.init_fn(*args, **kwargs)
        finally:
            frame.lifting, frame.lifts_openly = before
        params, state = self._parts(made)
        self._file("parameters", params, frame.params)
        pairs = {b: {n: StatePair(x, x) for n, x in values.items()} for b, values in state.items()}
        self._file("state", pairs, frame.state)
        return made

    def _parts(self, made: Any) -> tuple[Any, Any]:
        """The parameters and the state in what the inner `init` returned."""
        is_pair = isinstance(made, tuple) and len(made) == 2 and all(isinstance(tree, Mapping) for tree in made)
        if not self.with_state and is_pair:
            raise NonEmptyStateError(
                f"{self.who}: init_fn returned a pair (params, state): use nn.{self.who}_with_state, or "
                "nn.transform in place of nn.transform_with_state if there is no state"
            )
        parts = made if self.with_state and is_pair else (made, {})
        trees = all(
            isinstance(values, Mapping) for tree in parts if isinstance(tree, Mapping) for values in tree.values()
        )
        if is_pair != self.with_state or not isinstance(parts[0], Mapping) or not trees:
            expected = "a pair (params, state) of such" if self.with_state else "it"
            raise TypeError(
                f"{self.who}: init_fn must return parameters, module name → name → array, as init of "
                f"nn.transform does; {expected} was expected, got {describe(made)}"
            )
        return parts

    def _file(self, what: str, tree: Any, into: Any) -> None:
        for bundle, values in tree.items():
            key = self.prefix + bundle
            if key in into and not self.allow_reuse:
                raise ValueError(
                    f"{self.who}: the {what} of {key!r} exist already in the outer function. To "
                    "use one function twice with the same parameters, pass allow_reuse=True; for "
                    "parameters of its own, lift it again"
                )
            into[key] = {**into.get(key, {}), **values}


def _below(prefix: str, tree: Any) -> Any:
    """The bundles below a prefix, without it."""
    return {bundle.removeprefix(prefix): dict(values) for bundle, values in tree.items() if bundle.startswith(prefix)}


def lift_named(who: str, init_fn: Callable[..., Any], name: str, *, allow_reuse: bool) -> "_Lift":
    """`lift_with_state` without an updater, for those who update more than once."""
    return _Lift(who, init_fn, allow_reuse, name, with_state=True)


def lift(init_fn: Callable[..., Any], *, allow_reuse: bool = False, name: str = "lifted") -> Callable[..., Any]:
    """Registers the parameters of an inner pure function with the outer function.

    Args:
      init_fn: the inner `init`, or any function of (key, ...) that returns such parameters, as
        `jax.vmap(f.init, in_axes=(0, None))` for an ensemble.
      allow_reuse: whether it may be called twice, with the same parameters.
      name: the parameters are filed as "{name}/...".

    Returns:
      A function like `init_fn`: in `init` it calls that, in `apply` it returns the parameters that
      the outer function was given, and its key may be None.

    Raises:
      ValueError: if the parameters exist already.
      NonEmptyStateError: if `init_fn` returns (params, state).

    Example:
      >>> from renga import nn
      >>> inner = nn.transform(lambda x: nn.Linear(3)(x))
      >>> def f(x):
      ...     params = nn.lift(inner.init, name="inner")(nn.maybe_next_rng_key(), x)
      ...     return inner.apply(params, None, x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(2)))
      ['inner/linear']
    """
    return _Lift("lift", init_fn, allow_reuse, name, with_state=False)


def transparent_lift(init_fn: Callable[..., Any], *, allow_reuse: bool = False) -> Callable[..., Any]:
    """Like `lift`, but the parameters keep the names they have in the inner function.

    Args:
      init_fn: the inner `init`.
      allow_reuse: whether parameters of the same names may exist already.

    Raises:
      ValueError: if the parameters exist already, or the inner function uses a module of the outer one, whose
        parameters would be filed as the inner function's.
      NonEmptyStateError: if `init_fn` returns (params, state).

    Example:
      >>> from renga import nn
      >>> inner = nn.transform(lambda x: nn.Linear(3)(x))
      >>> def f(x):
      ...     params = nn.transparent_lift(inner.init)(nn.maybe_next_rng_key(), x)
      ...     return inner.apply(params, None, x)
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(2)))
      ['linear']
    """
    return _Lift("transparent_lift", init_fn, allow_reuse, None, with_state=False)


class LiftWithStateUpdater:
    """Takes the inner function's new state back to the outer function.

    It must be used once: `update(state)`, or `ignore_update()`.
    """

    def __init__(self, name: Any):
        self._prefix = name if isinstance(name, str) else name.prefix
        self._used = False
        self._frame = current_frame("lift_with_state")
        self._frame.updaters.append(self)

    def update(self, state: Any) -> None:
        """Sets the outer function's state to the inner function's new one.

        Args:
          state: as the inner `apply` returned it.

        Raises:
          ValueError: on a second call, or in another call of init or apply than it was made in.
        """
        frame = current_frame("LiftWithStateUpdater.update")
        if frame is not self._frame:
            raise ValueError(
                "lift_with_state: the updater must be used in the call of init or apply that made it, got another "
                "one: call nn.lift_with_state and update in the same transformed function"
            )
        if not isinstance(state, Mapping) or not all(isinstance(values, Mapping) for values in state.values()):
            raise TypeError(
                "lift_with_state: the updater must be given the state that the inner apply returned, got "
                f"{describe(state)}"
            )
        self._use()
        frame.check_value("The state of a lifted function was set", state)
        for bundle, values in state.items():
            states = frame.state.setdefault(self._prefix + bundle, {})
            for name, value in values.items():
                initial = states[name].initial if name in states else value
                states[name] = StatePair(initial, value)

    def ignore_update(self) -> None:
        """Leaves the outer function's state as it was."""
        self._use()

    def assert_used(self) -> None:
        """Checks that one of the other two was called.

        Raises:
          ValueError: if neither was.
        """
        if not self._used:
            raise ValueError(
                "lift_with_state: the updater must be used: call update(state) with the inner "
                "function's new state, or ignore_update()"
            )

    def _use(self) -> None:
        if self._used:
            raise ValueError("lift_with_state: the updater must be used only once")
        self._used = True


def lift_with_state(
    init_fn: Callable[..., Any], *, allow_reuse: bool = False, name: str = "lifted"
) -> tuple[Callable[..., Any], LiftWithStateUpdater]:
    """Registers the parameters and the state of an inner pure function with the outer function.

    Args:
      init_fn: the inner `init`, which returns (params, state).
      allow_reuse: whether it may be called twice, with the same parameters.
      name: parameters and state are filed as "{name}/...".

    Returns:
      A function like `init_fn`, and an updater that must be given the new state.

    Raises:
      ValueError: if the parameters exist already, or the updater is not used.

    Example:
      >>> from renga import nn
      >>> def count():
      ...     n = nn.get_state("n", [], jnp.int32, init=jnp.zeros)
      ...     nn.set_state("n", n + 1)
      >>> inner = nn.transform_with_state(count)
      >>> def f():
      ...     init, updater = nn.lift_with_state(inner.init)
      ...     params, state = init(None)
      ...     _, state = inner.apply(params, state, None)
      ...     updater.update(state)
      >>> outer = nn.transform_with_state(f)
      >>> outer.apply(*outer.init(None), None)
      (None, {'lifted/~': {'n': Array(1, dtype=int32)}})
    """
    lifted = _Lift("lift_with_state", init_fn, allow_reuse, name, with_state=True)
    return lifted, LiftWithStateUpdater(lifted)


def transparent_lift_with_state(
    init_fn: Callable[..., Any], *, allow_reuse: bool = False
) -> tuple[Callable[..., Any], LiftWithStateUpdater]:
    """Like `lift_with_state`, but with the names of the inner function.

    Args:
      init_fn: the inner `init`, which returns (params, state).
      allow_reuse: whether parameters of the same names may exist already.

    Returns:
      A function like `init_fn`, and an updater that must be given the new state.

    Example:
      >>> from renga import nn
      >>> inner = nn.transform_with_state(lambda x: nn.Linear(3)(x))
      >>> def f(x):
      ...     init, updater = nn.transparent_lift_with_state(inner.init)
      ...     params, state = init(nn.maybe_next_rng_key(), x)
      ...     out, state = inner.apply(params, state, None, x)
      ...     updater.update(state)
      ...     return out
      >>> list(nn.transform(f).init(jax.random.key(0), jnp.ones(2)))
      ['linear']
    """
    lifted = _Lift("transparent_lift_with_state", init_fn, allow_reuse, None, with_state=True)
    return lifted, LiftWithStateUpdater(lifted)
