"""Stand-ins for `jax.jit` and `jax.pmap`, for debugging and for machines with one device."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_GROUPED = ("all_gather", "all_to_all", "pmax", "pmean", "pmin", "psum", "psum_scatter")


class FakeContext(contextlib.ExitStack):
    """Replaces functions of JAX while it is open: in a `with` block, or from `start()` to `stop()`."""

    def __init__(self, *patches: tuple[Any, str, Any], disable_jit: bool = False) -> None:
        super().__init__()
        self._patches, self._disable_jit = patches, disable_jit

    def start(self) -> None:
        """Puts the stand-ins in place."""
        if self._disable_jit:
            self.enter_context(jax.disable_jit())
        for owner, name, stand_in in self._patches:
            original = getattr(owner, name)
            setattr(owner, name, stand_in)
            self.callback(setattr, owner, name, original)

    def stop(self) -> None:
        """Puts the originals back."""
        self.close()

    def __enter__(self) -> "FakeContext":
        self.start()
        return super().__enter__()


def fake_jit(enable_patching: bool = True) -> FakeContext:
    """Makes compiled functions run as plain Python, as `jax.disable_jit` does: breakpoints and prints see values.

    Args:
      enable_patching: whether to do anything.

    Returns:
      A context, or an object with `start()` and `stop()`.

    Example:
      >>> with fake_jit():
      ...     jax.jit(lambda x: x if x > 0 else -x)(-2.0)
      2.0
    """
    return FakeContext(disable_jit=enable_patching)


def fake_pmap(
    enable_patching: bool = True,
    jit_result: bool = False,
    ignore_axis_index_groups: bool = False,
    fake_parallel_axis: bool = False,
) -> FakeContext:
    """Replaces `jax.pmap` by `jax.vmap`: any number of lanes on one device.

    Args:
      enable_patching: whether to do anything.
      jit_result: whether to compile the function.
      ignore_axis_index_groups: whether collectives take all lanes for one group; `vmap` has no groups.
      fake_parallel_axis: whether arguments have no axis of devices: each call is one lane.

    Returns:
      A context, or an object with `start()` and `stop()`.

    Example:
      >>> with fake_pmap():
      ...     jax.pmap(lambda x: jax.lax.psum(x, "i"), axis_name="i")(jnp.arange(3.0))
      Array([3., 3., 3.], dtype=float32)
    """
    if not enable_patching:
        return FakeContext()
    patches = [(jax, "pmap", _make_pmap(jax.pmap, jit_result, fake_parallel_axis))]
    if ignore_axis_index_groups:
        patches += [(jax.lax, name, _without_groups(getattr(jax.lax, name))) for name in _GROUPED]
    return FakeContext(*patches)


def _without_groups(collective: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(collective)
    def on_all(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("axis_index_groups", None)
        return collective(*args, **kwargs)

    return on_all


def _make_pmap(real: Callable[..., Any], jit_result: bool, one_lane: bool) -> Callable[..., Any]:
    @functools.wraps(real)
    def pmap(
        fun: Any = None,
        axis_name: Any = None,
        *,
        in_axes: Any = 0,
        out_axes: Any = 0,
        static_broadcasted_argnums: Any = (),
        axis_size: int | None = None,
        **_: Any,
    ) -> Any:
        if fun is None:
            options = {"in_axes": in_axes, "out_axes": out_axes, "axis_size": axis_size}
            return lambda f: pmap(f, axis_name, static_broadcasted_argnums=static_broadcasted_argnums, **options)
        static = static_broadcasted_argnums
        static = {static} if isinstance(static, int) else set(static or ())
        compiled = functools.lru_cache(lambda at, values: jax.jit(_vmapped(at, values, ())))

        def _vmapped(at: tuple, values: tuple, _: Any) -> Callable[..., Any]:
            fixed = dict(zip(at, values, strict=True))

            def lane(*args: Any, **kwargs: Any) -> Any:
                rest = iter(args)
                return fun(*(fixed[i] if i in fixed else next(rest) for i in range(len(args) + len(fixed))), **kwargs)

            axes = in_axes
            if isinstance(axes, list | tuple):
                axes = tuple(a for i, a in enumerate(axes) if i not in fixed)
            mapped = functools.partial(jax.vmap, axis_name=axis_name, axis_size=axis_size)
            if not one_lane:
                return mapped(lane, in_axes=axes, out_axes=out_axes)

            def alone(*args: Any, **kwargs: Any) -> Any:
                # One lane that gets its arguments whole.
                out = jax.vmap(lambda _: lane(*args, **kwargs), axis_name=axis_name)(jnp.zeros(1))
                return jax.tree.map(lambda x: x[0], out)

            return alone

        @functools.wraps(fun)
        def run(*args: Any, **kwargs: Any) -> Any:
            at = tuple(sorted({i % len(args) for i in static if -len(args) <= i < len(args)}))
            values = tuple(args[i] for i in at)
            mapped = compiled(at, values) if jit_result else _vmapped(at, values, ())
            return mapped(*(x for i, x in enumerate(args) if i not in at), **kwargs)

        return run

    return pmap


def fake_pmap_and_jit(enable_pmap_patching: bool = True, enable_jit_patching: bool = True) -> FakeContext:
    """Replaces `jax.pmap` and `jax.jit` at once, as `fake_pmap` and `fake_jit` do.

    Args:
      enable_pmap_patching: whether to replace `jax.pmap`.
      enable_jit_patching: whether to replace `jax.jit`.

    Returns:
      A context, or an object with `start()` and `stop()`.

    Example:
      >>> with fake_pmap_and_jit():
      ...     jax.pmap(jax.jit(lambda x: 2 * x))(jnp.arange(3.0))
      Array([0., 2., 4.], dtype=float32)
    """
    return FakeContext(*fake_pmap(enable_pmap_patching)._patches, disable_jit=enable_jit_patching)
