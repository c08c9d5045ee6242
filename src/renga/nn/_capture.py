"""Looking inside a model: what its modules compute, and the gradients there."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from renga.nn._mismatch import compare
from renga.nn._module import MethodContext, intercept_methods
from renga.nn._rng import describe, is_key, is_seed
from renga.nn._summarise import as_transformed, draw_table, eval_summary

_SIGNATURE = "The signature is captured(params, state, rng, *args, perturbations=None)"


class Captured(NamedTuple):
    """What `capture` returns.

    Attributes:
      out: the function's result.
      state: its new state.
      outputs: "module" or "module/~method" → the results of its calls, in order.
    """

    out: Any
    state: Any
    outputs: dict[str, list[Any]]


def capture(f: Any) -> Callable[..., Captured]:
    """Returns a function that also returns every module's results; differentiable inside.

    The gradient at a module's result is the gradient with respect to a perturbation added to it:
    pass `perturbations`, a tree like `outputs` (or part of it: name → list), and differentiate.

    Args:
      f: a function that uses modules, or a transformed one.

    Returns:
      `captured(params, state, rng, *args, perturbations=None, **kwargs) -> Captured`, of a function
      without state too: its `state` is {} or None.

    Raises:
      TypeError: on a call whose `state` is no mapping.
      ValueError: on a call whose `rng` is no key, or whose perturbations are for calls that were not made.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.MLP([4, 1])(x).sum())
      >>> params, state = f.init(jax.random.key(0), jnp.ones([1, 3]))
      >>> look = nn.capture(f)
      >>> outputs = look(params, state, None, jnp.ones([1, 3])).outputs
      >>> list(outputs)
      ['mlp/~/linear_0', 'mlp/~/linear_1', 'mlp']
      >>> zeros = jax.tree.map(jnp.zeros_like, outputs)
      >>> loss = lambda p: look(params, state, None, jnp.ones([1, 3]), perturbations=p).out
      >>> jax.grad(loss)(zeros)["mlp/~/linear_1"][0]
      Array([[1.]], dtype=float32)
    """
    apply = as_transformed(f).apply

    def captured(params: Any, state: Any, rng: Any, *args: Any, perturbations: Any = None, **kwargs: Any) -> Captured:
        if state is not None and not isinstance(state, Mapping):
            raise TypeError(
                "capture: state must be a mapping from module names, or {} or None for a function without "
                f"state, got {describe(state)}. {_SIGNATURE}, for nn.transform too"
            )
        if rng is not None and not is_key(rng) and not is_seed(rng):
            raise ValueError(f"capture: rng must be a random key or None, got {describe(rng)}. {_SIGNATURE}")
        outputs: dict[str, list[Any]] = {}
        added = perturbations or {}

        def keep(next_f: Any, a: Any, k: Any, context: MethodContext) -> Any:
            out = next_f(*a, **k)
            if context.method_name == "__init__":
                return out
            name = context.module.module_name
            if context.method_name != "__call__":
                name = f"{name}/~{context.method_name}"
            calls = outputs.setdefault(name, [])
            if len(added.get(name, ())) > len(calls):
                out = jax.tree.map(jnp.add, out, added[name][len(calls)])
            calls.append(out)
            return out

        with intercept_methods(keep):
            out, new_state = apply(params, state, rng, *args, **kwargs)
        unused = [name for name, calls in added.items() if len(calls) > len(outputs.get(name, ()))]
        if unused:
            counts = ", ".join(f"{name} (called {len(outputs.get(name, ()))} times)" for name in unused)
            raise ValueError(
                "capture: perturbations must be for calls that were made, at most one for each, got more for "
                f"{counts}. Outputs were captured of: {', '.join(outputs)}"
            )
        return Captured(out, new_state, outputs)

    return captured


def summary(f: Any, *args: Any, **kwargs: Any) -> str:
    """Tells what a model is made of: modules, shapes, parameters, and the work of one call.

    Nothing is computed; the operations are counted by the compiler for the whole model.

    Args:
      f: a function that uses modules, or a transformed one.
      *args: its arguments, arrays or `jax.ShapeDtypeStruct`.
      **kwargs: named arguments.

    Returns:
      A table.

    Example:
      >>> from renga import nn
      >>> print(nn.summary(lambda x: nn.nets.MLP([4, 2])(x), jnp.ones([1, 3])))
      +----------------+--------+----------+----------+------------+-------+
      | Module         | Class  | Input    | Output   | Parameters | Bytes |
      +================+========+==========+==========+============+=======+
      | mlp            | MLP    | f32[1,3] | f32[1,2] | 26         | 104   |
      +----------------+--------+----------+----------+------------+-------+
      | mlp/~/linear_0 | Linear | f32[1,3] | f32[1,4] | 16         | 64    |
      +----------------+--------+----------+----------+------------+-------+
      | mlp/~/linear_1 | Linear | f32[1,4] | f32[1,2] | 10         | 40    |
      +----------------+--------+----------+----------+------------+-------+
      26 parameters, 104 bytes; a call: 50 FLOPs
    """
    rows = []
    for call in eval_summary(f)(*args, **kwargs):
        details = call.module_details
        specs = list(details.params.values())
        name = details.module.module_name
        if details.method_name != "__call__":
            name += f"/~{details.method_name}"
        inputs = call.args_spec[0] if len(call.args_spec) == 1 else call.args_spec
        row = [name, type(details.module).__name__, repr(inputs), repr(call.output_spec)]
        row += [str(sum(s.size for s in specs))]
        row += [str(sum(s.size * jnp.dtype(s.dtype).itemsize for s in specs))]
        rows.append([[cell] for cell in row])
    init, apply = as_transformed(f)
    key = jax.eval_shape(lambda: jax.random.key(0))
    arrays, rebuild = _split((args, kwargs))

    def initialise(key: Any, arrays: Any) -> Any:
        a, k = rebuild(arrays)
        return init(key, *a, **k)

    def run(params: Any, state: Any, key: Any, arrays: Any) -> Any:
        a, k = rebuild(arrays)
        return apply(params, state, key, *a, **k)

    params, state = jax.eval_shape(initialise, key, arrays)
    cost = jax.jit(run).lower(params, state, key, arrays).cost_analysis() or {}
    leaves = jax.tree.leaves(params)
    count = sum(x.size for x in leaves)
    size = sum(x.size * x.dtype.itemsize for x in leaves)
    titles = ["Module", "Class", "Input", "Output", "Parameters", "Bytes"]
    total = f"{count} parameters, {size} bytes; a call: {int(cost.get('flops', 0))} FLOPs"
    return draw_table(titles, rows) + "\n" + total


def _split(tree: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """The arrays of a tree, and a function that puts them back among the rest."""
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, x in enumerate(leaves) if hasattr(x, "shape") and hasattr(x, "dtype")]

    def rebuild(arrays: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(places, arrays, strict=True):
            filled[i] = x
        return jax.tree.unflatten(structure, filled)

    return [leaves[i] for i in places], rebuild


def check_params(f: Any, params: Any, *args: Any, state: Any = None, **kwargs: Any) -> None:
    """Checks that parameters are exactly those of a function: none missing, none too many.

    `apply` itself takes parameters that it does not use, as those of another model.

    Args:
      f: a function that uses modules, or a transformed one.
      params: parameters.
      *args: arguments of the function.
      state: state; not checked if None.
      **kwargs: named arguments.

    Raises:
      ValueError: listing every entry that is missing, superfluous or of another shape.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Linear(2)(x))
      >>> nn.check_params(f, {"linear": {"w": jnp.ones([3, 2]), "c": jnp.ones(2)}}, jnp.ones(3))
      Traceback (most recent call last):
      ValueError: check_params: the parameters are not those of the function.
      Missing from params:
        linear/b [2]
      In params, but not used:
        linear/c [2]
    """
    init, _ = as_transformed(f)
    key = jax.eval_shape(lambda: jax.random.key(0))
    expected, wanted_state = jax.eval_shape(lambda k: init(k, *args, **kwargs), key)
    lines = compare("params", expected, params)
    if state is not None:
        lines += compare("state", wanted_state, state)
    if lines:
        raise ValueError("check_params: the parameters are not those of the function.\n" + "\n".join(lines))
