"""The variants of a function under test: compiled or not, on a device or not, on several devices."""

import enum
import functools
import unittest
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_OPTIONS = frozenset(
    ("static_argnums", "static_argnames", "ignore_argnums", "donate_argnums", "donate_argnames", "device", "devices")
    + ("backend", "axis_name", "axis_size", "in_axes", "out_axes", "n_devices", "reduce_fn", "inline", "keep_unused")
    + ("broadcast_args_to_devices", "static_broadcasted_argnums")
)


class ChexVariantType(enum.Enum):
    """The variants that a test can run in. Its text is the ending of the test's name."""

    WITH_JIT = 1
    WITHOUT_JIT = 2
    WITH_DEVICE = 3
    WITHOUT_DEVICE = 4
    WITH_PMAP = 5

    def __str__(self) -> str:
        return "_" + self.name.lower()


def make_variant(kind: ChexVariantType) -> Callable[..., Any]:
    """Returns what turns a function into its variant; also a decorator with options."""
    make = _MAKERS[kind]

    def variant(fn: Any = None, **options: Any) -> Any:
        unknown = options.keys() - _OPTIONS
        if unknown:
            raise ValueError(f"variant: there are no options {sorted(unknown)}; there are {sorted(_OPTIONS)}")
        if fn is None:
            return functools.partial(variant, **options)
        if not callable(fn):
            raise TypeError(f"variant: fn must be a function, got {type(fn).__name__}")
        return make(fn, **{k: v for k, v in options.items() if v is not None or k == "reduce_fn"})

    variant.type = kind  # pyrefly: ignore[missing-attribute]
    return variant


def _numbers(*given: Any) -> set[int]:
    return {n for g in given for n in ((g,) if isinstance(g, int) else g)}


def _names(given: Any) -> set[str]:
    return {given} if isinstance(given, str) else set(given)


def _jitted(fn: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    known = ("static_argnums", "static_argnames", "donate_argnums", "donate_argnames", "inline", "keep_unused")
    return jax.jit(fn, **{k: v for k, v in options.items() if k in known})


def _plain(fn: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    return _named(fn, lambda *args, **kwargs: fn(*args, **kwargs))


def _named(fn: Any, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(fn)(wrapper)


def _moved(move: Callable[[Any], Any]) -> Callable[..., Any]:
    """Returns the variant whose array arguments are moved first."""

    def make(
        fn: Callable[..., Any],
        *,
        ignore_argnums: Any = (),
        static_argnums: Any = (),
        static_argnames: Any = (),
        **_: Any,
    ) -> Callable[..., Any]:
        kept, names = _numbers(ignore_argnums, static_argnums), _names(static_argnames)

        def run(*args: Any, **kwargs: Any) -> Any:
            args = tuple(x if i in kept or i - len(args) in kept else move(x) for i, x in enumerate(args))
            return fn(*args, **{k: x if k in names else move(x) for k, x in kwargs.items()})

        return _named(fn, run)

    return make


def _to_host(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) and not _is_key(x) else x, tree)


def _to_device(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.device_put(x) if _is_array(x) else x, tree)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


def _pmapped(
    fn: Callable[..., Any],
    *,
    n_devices: int | None = None,
    axis_name: Any = "i",
    devices: Sequence[Any] | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    static_argnums: Any = (),
    static_argnames: Any = (),
    static_broadcasted_argnums: Any = (),
    backend: str | None = None,
    broadcast_args_to_devices: bool = True,
    reduce_fn: Any = "first_device_output",
    **_: Any,
) -> Callable[..., Any]:
    reductions = {"first_device_output": lambda t: jax.tree.map(lambda x: x[0], t), "identity": lambda t: t}
    if reduce_fn is None:
        reduce_fn = reductions["identity"]
    elif not callable(reduce_fn):
        if reduce_fn not in reductions:
            raise TypeError(
                f"variant: reduce_fn must be a function, None, or one of {[*reductions]}, got {reduce_fn!r}"
            )
        reduce_fn = reductions[reduce_fn]
    devices = list(devices) if devices is not None else jax.devices(backend)
    count = len(devices) if n_devices is None else n_devices
    if count > len(devices):
        raise ValueError(f"variant: n_devices must be at most the {len(devices)} devices there are, got {count}")
    static, names = _numbers(static_argnums, static_broadcasted_argnums), _names(static_argnames)
    spread = lambda tree: jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), tree)

    def run(*args: Any, **kwargs: Any) -> Any:
        fixed = {i: x for i, x in enumerate(args) if i in static or i - len(args) in static}
        fixed_names = {k: x for k, x in kwargs.items() if k in names}
        axes = in_axes
        if isinstance(in_axes, list | tuple):
            axes = tuple(a for i, a in enumerate(in_axes) if i not in fixed)

        def lane(*args_: Any, **kwargs_: Any) -> Any:
            rest = iter(args_)
            return fn(*(fixed[i] if i in fixed else next(rest) for i in range(len(args))), **kwargs_, **fixed_names)

        moving = [x for i, x in enumerate(args) if i not in fixed]
        moving_names = {k: x for k, x in kwargs.items() if k not in names}
        if broadcast_args_to_devices:
            each = axes if isinstance(axes, tuple) else (axes,) * len(moving)
            moving = [spread(x) if a == 0 else x for x, a in zip(moving, each, strict=True)]
            moving_names = spread(moving_names)
        mapped = jax.pmap(lane, axis_name=axis_name, in_axes=axes, out_axes=out_axes, devices=devices[:count])
        return reduce_fn(mapped(*moving, **moving_names))

    return _named(fn, run)


_MAKERS = {
    ChexVariantType.WITH_JIT: _jitted,
    ChexVariantType.WITHOUT_JIT: _plain,
    ChexVariantType.WITH_DEVICE: _moved(_to_device),
    ChexVariantType.WITHOUT_DEVICE: _moved(_to_host),
    ChexVariantType.WITH_PMAP: _pmapped,
}


def skip_without_devices(kind: ChexVariantType) -> None:
    """Skips the variant for several devices where there is one."""
    if kind is ChexVariantType.WITH_PMAP and jax.device_count() < 2:
        raise unittest.SkipTest(
            "with_pmap needs two devices or more: set_n_cpu_devices(2) before the first computation"
        )
