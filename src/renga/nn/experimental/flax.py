"""Transformed functions inside of Flax modules, and Flax modules inside of transformed functions.

Flax is needed by `Module` only, and imported when that is first asked for.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from renga.nn._frame import current_frame
from renga.nn._keys import maybe_next_rng_key
from renga.nn._lift import LiftWithStateUpdater, lift_named
from renga.nn._params import running_init
from renga.nn._transform import Transformed, TransformedWithState, with_apply_rng, with_empty_state

_ROOT = "~"


def flatten_flax_to_haiku(collection: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Turns nested dictionaries into two levels: {"a": {"b": {"w": w}}} into {"a/b": {"w": w}}.

    Args:
      collection: variables as Flax keeps them. Those in no module are filed under "~".

    Returns:
      The same arrays as `nn.transform` keeps them.

    Example:
      >>> flatten_flax_to_haiku({"a": {"b": {"w": 1}, "c": 2}, "d": 3})
      {'a/b': {'w': 1}, 'a': {'c': 2}, '~': {'d': 3}}
    """
    flat: dict[str, dict[str, Any]] = {}

    def visit(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                visit(value, (*path, name))
            else:
                flat.setdefault("/".join(path) or _ROOT, {})[name] = value

    visit(collection, ())
    return flat


def _state(collections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All collections in two levels, each below its own name."""
    return {
        f"{collection}/{bundle}": values
        for collection, tree in collections.items()
        for bundle, values in flatten_flax_to_haiku(tree).items()
    }


def _nested(tree: Mapping[str, Mapping[str, Any]], root: str | None = _ROOT) -> dict[str, Any]:
    """Turns two levels into nested dictionaries; the bundle `root` becomes the top level itself."""
    nested: dict[str, Any] = {}
    for bundle, values in tree.items():
        level = nested
        for part in () if bundle == root else bundle.split("/"):
            level = level.setdefault(part, {})
        for name, value in values.items():
            if name in level or not isinstance(level, dict):
                raise ValueError(f"experimental.flax: {bundle}/{name} is the name of an array and of a module")
            level[name] = value
    return nested


# --- a Flax module in a transformed function -----------------------------------------------------


def lift(mod: Any, *, name: str) -> Callable[..., Any]:
    """Makes a Flax module callable inside of a transformed function.

    Its parameters are filed as "{name}/...", its other collections (as "batch_stats") are state, filed as
    "{name}/batch_stats/...".

    Args:
      mod: a `flax.linen.Module`.
      name: of the module that stands for it.

    Returns:
      A function of the arguments of `mod.apply`, without the variables.

    Raises:
      ValueError: outside of a transformed function.
      TypeError: if `mod` is no Flax module.

    Example:
      >>> import flax.linen
      >>> from renga import nn
      >>> f = nn.transform(lambda x: lift(flax.linen.Dense(3), name="dense")(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 4]))
      >>> jax.tree.map(jnp.shape, params)
      {'dense/~': {'bias': (3,), 'kernel': (4, 3)}}
      >>> f.apply(params, None, jnp.ones([2, 4])).shape
      (2, 3)
    """
    current_frame("experimental.flax.lift")
    if not (callable(getattr(mod, "init", None)) and callable(getattr(mod, "apply", None))):
        raise TypeError(f"experimental.flax.lift: mod must be a flax.linen.Module, got {type(mod).__name__}")

    def init(rng: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        variables = dict(mod.init(rng, *args, **kwargs))
        return flatten_flax_to_haiku(variables.pop("params", {})), _state(variables)

    # As often as it is called it is the same module.
    lifted = lift_named("experimental.flax.lift", init, name, allow_reuse=True)

    def call(*args: Any, **kwargs: Any) -> Any:
        updater = LiftWithStateUpdater(lifted)
        key = maybe_next_rng_key() if running_init() else None
        params, state = lifted(key, *args, **kwargs)
        variables = {"params": _nested(params)}
        for bundle, values in state.items():
            collection, _, below = bundle.partition("/")
            variables.setdefault(collection, {})[below] = values
        mutable = [collection for collection in variables if collection != "params"]
        for collection in mutable:
            variables[collection] = _nested(variables[collection])
        out, changed = mod.apply(variables, *args, mutable=mutable, **kwargs)
        updater.update(_state(changed))
        return out

    return call


# --- a transformed function in a Flax module -----------------------------------------------------


@functools.cache
def _module() -> type:
    """The class `Module`, made when it is asked for: it is Flax's."""
    try:
        linen = importlib.import_module("flax.linen")
    except ImportError as error:
        raise ImportError("experimental.flax.Module needs the package flax: pip install flax") from error

    class Module(linen.Module):
        """A transformed function as a Flax module.

        The parameters are in the collection "params", the state in "state". `init` draws from the stream
        "params"; the function's own draws are from the stream "apply".

        Args:
          transformed: what `nn.transform` or `nn.transform_with_state` returned.
          parent: as in every Flax module.
          name: as in every Flax module.

        Example:
          >>> from renga import nn
          >>> module = nn.experimental.flax.Module(nn.transform(lambda x: nn.nets.MLP([3, 2])(x)))
          >>> variables = module.init(jax.random.key(0), jnp.ones([1, 4]))
          >>> sorted(variables["params"]["mlp"]["~"])
          ['linear_0', 'linear_1']
          >>> module.apply(variables, jnp.ones([1, 4])).shape
          (1, 2)
        """

        transformed: Any

        @linen.compact
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Calls the function."""
            if not isinstance(self.transformed, Transformed | TransformedWithState):
                raise TypeError(
                    "experimental.flax.Module: transformed must be what nn.transform or nn.transform_with_state "
                    f"returned, got {type(self.transformed).__name__}"
                )
            init, apply = with_empty_state(with_apply_rng(self.transformed))
            variables = self.variables
            stored = "params" in variables or "state" in variables
            if self.is_initializing() and not stored:
                key = self.make_rng("params") if self.has_rng("params") else None
                params, state = init(key, *args, **kwargs)
                for collection, tree in (("params", params), ("state", state)):
                    for name, value in _nested(tree, None).items():
                        self.put_variable(collection, name, value)
            else:
                params = flatten_flax_to_haiku(variables.get("params", {}))
                state = flatten_flax_to_haiku(variables.get("state", {}))
            key = self.make_rng("apply") if self.has_rng("apply") else None
            out, new_state = apply(params, state, key, *args, **kwargs)
            if not self.is_initializing():
                self._store(state, new_state)
            return out

        def _store(self, old: Any, new: Any) -> None:
            """Stores the states that changed; Flax refuses if their collection is not mutable."""
            for bundle, values in new.items():
                before = old.get(bundle, {})
                if any(value is not before.get(name) for name, value in values.items()):
                    top = bundle.split("/", 1)[0]
                    below = {b: v for b, v in new.items() if b == top or b.startswith(f"{top}/")}
                    self.put_variable("state", top, _nested(below, None)[top])

    Module.__module__, Module.__qualname__ = __name__, "Module"
    return Module


def __getattr__(name: str) -> Any:
    if name == "Module":
        return _module()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = ["Module", "flatten_flax_to_haiku", "lift"]  # noqa: F822 (see __getattr__)
