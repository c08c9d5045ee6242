"""What changed between two calls, so that JAX traced a function again."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Leaf(NamedTuple):
    """What tracing depends on in one argument."""

    kind: str  # "array" or "static"
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    weak: bool = False
    value: str | None = None
    where: str | None = None


class Signature(NamedTuple):
    """What tracing depends on in one call."""

    leaves: dict[str, Leaf]
    structure: dict[str, Any]


def name_arguments(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments by the names of the parameters."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = {}
    for i, x in enumerate(args):
        rest = next((p for p in parameters[: i + 1] if p.kind is p.VAR_POSITIONAL), None)
        if rest is not None:
            named[f"{rest.name}[{i - parameters.index(rest)}]"] = x
        else:
            named[parameters[i].name if i < len(parameters) else f"args[{i}]"] = x
    return named | kwargs


def signature_of(named: dict[str, Any], static: Sequence[str] = (), traced: bool = False) -> Signature:
    """Returns what tracing depends on.

    Args:
      named: arguments by name.
      static: names of static arguments.
      traced: whether these are what a traced function got: then all that is not an array is static.
    """
    leaves, structure = {}, {}
    for name, tree in named.items():
        if name in static:
            leaves[name] = Leaf("static", value=f"{tree!r:.200}")
            continue
        structure[name] = jax.tree.structure(tree)
        for path, x in jax.tree.leaves_with_path(tree):
            leaves[name + jax.tree_util.keystr(path)] = _leaf(x, traced)
    return Signature(leaves, structure)


def _leaf(x: Any, traced: bool) -> Leaf:
    if isinstance(x, jax.Array):
        where = None if isinstance(x, jax.core.Tracer) or len(x.devices()) == 1 else str(x.sharding)
        return Leaf("array", tuple(x.shape), str(x.dtype), getattr(x, "weak_type", False), where=where)
    if isinstance(x, np.ndarray | np.generic):
        return Leaf("array", x.shape, str(jax.dtypes.canonicalize_dtype(x.dtype)))
    if isinstance(x, bool | int | float | complex) and not traced:
        return Leaf("array", (), str(jax.dtypes.canonicalize_dtype(np.asarray(x).dtype)), not isinstance(x, bool))
    return Leaf("static", value=f"{x!r:.200}")


def what_changed(before: Signature, after: Signature) -> list[str]:
    """Returns a line for each argument that changed."""
    lines = []
    for name in [*before.structure, *(n for n in after.structure if n not in before.structure)]:
        old, new = (str(call.structure.get(name, "absent")) for call in (before, after))
        if old != new:
            lines.append(f"{name}: structure {old} -> {new}")
    for name in before.leaves.keys() & after.leaves.keys():
        old, new = before.leaves[name], after.leaves[name]
        if old.kind != new.kind:
            lines.append(f"{name}: {_show(old)} -> {_show(new)}")
            continue
        if old.shape != new.shape:
            lines.append(f"{name}: shape {old.shape} -> {new.shape}")
        if old.dtype != new.dtype:
            lines.append(f"{name}: dtype {old.dtype} -> {new.dtype}")
        if old.weak != new.weak:
            words = ("not weak", "weak (a Python number)")
            lines.append(f"{name}: weak type: {words[old.weak]} -> {words[new.weak]} (dtype {new.dtype})")
        if old.where != new.where:
            lines.append(f"{name}: sharding {old.where or 'one device'} -> {new.where or 'one device'}")
        if old.value != new.value:
            lines.append(f"{name}: static value {old.value} -> {new.value}")
    order = {name: i for i, name in enumerate({**before.leaves, **after.leaves})}
    return sorted(lines, key=lambda line: order.get(line.split(": ")[0], -1))


def _show(leaf: Leaf) -> str:
    return f"static {leaf.value}" if leaf.kind == "static" else f"{leaf.dtype}{list(leaf.shape or ())}"


def explain_retrace(
    fn: Callable[..., Any],
    before: Any,
    after: Any,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> str:
    """Says which arguments make `jax.jit(fn)` trace again, and why.

    Looks at what JAX keys its programs by: the structure of each argument, and shape, dtype, weak type and sharding of
    each array; the value of what is static. The function is not run.

    Args:
      fn: the function, or one that `jax.jit` returned; gives the names.
      before: arguments of the first call: a tuple of positional ones or a dict of keyword ones.
      after: arguments of the second call.
      static_argnums: as of `jax.jit`.
      static_argnames: as of `jax.jit`.

    Returns:
      One line for each change, or a line that says that nothing changed.

    Example:
      >>> print(explain_retrace(lambda x, n: x * n, (jnp.ones(2), 1), (jnp.ones(3), 1.0)))
      x: shape (2,) -> (3,)
      n: dtype int32 -> float32
    """
    nums = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    signatures = []
    for call in (before, after):
        args, kwargs = ((), call) if isinstance(call, dict) else (call, {})
        if not isinstance(args, list | tuple):
            raise TypeError(
                f"explain_retrace: a call must be a tuple of arguments or a dict by name, got {type(call).__name__}"
            )
        named = name_arguments(fn, args, kwargs)
        static = [*names, *(list(named)[n] for n in nums if -len(args) <= n < len(args))]
        signatures.append(signature_of(named, static))
    return "\n".join(what_changed(*signatures)) or NOTHING


NOTHING = (
    "no argument changed: the function object is another one, something it closes over or an option of JAX is, "
    "or the cache was cleared"
)
