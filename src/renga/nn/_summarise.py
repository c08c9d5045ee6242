"""What a model does, method by method, without running it."""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.nn._module import MethodContext, Module, intercept_methods
from renga.nn._transform import (
    MultiTransformed,
    MultiTransformedWithState,
    Transformed,
    TransformedWithState,
    transform_with_state,
    with_apply_rng,
    with_empty_state,
)

_SHORT = {"float": "f", "int": "s", "uint": "u", "complex": "c", "bfloat": "bf"}


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """The shape and dtype of an array.

    Attributes:
      shape: its shape.
      dtype: its dtype.
    """

    shape: Sequence[int]
    dtype: Any

    @classmethod
    def from_array(cls, array: Any) -> "ArraySpec":
        """The spec of an array."""
        return cls(tuple(np.shape(array)), jnp.result_type(array))

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=int))

    def __repr__(self) -> str:
        return f"{short_dtype(self.dtype)}[{','.join(map(str, self.shape))}]"


def short_dtype(dtype: Any) -> str:
    """f32 for float32, and the like."""
    name = getattr(dtype, "name", None) or jnp.dtype(dtype).name
    for long, short in _SHORT.items():
        if name.startswith(long) and name[len(long) :].isdigit():
            return short + name[len(long) :]
    return name


@dataclasses.dataclass(frozen=True)
class ModuleDetails:
    """A module at the time of a call.

    Attributes:
      module: the module.
      method_name: the method that is called.
      params: full name → `ArraySpec`, of the module and those inside it.
      state: likewise.
    """

    module: Any
    method_name: str
    params: dict[str, ArraySpec]
    state: dict[str, ArraySpec]

    @classmethod
    def of(cls, module: Module, method_name: str) -> "ModuleDetails":
        """The details of a module now, inside of a transformed function."""
        params, state = module.params_dict(), module.state_dict()
        # Each by itself: jax.tree.map would sort them.
        return cls(
            module,
            method_name,
            {name: _specs(value) for name, value in params.items()},
            {name: _specs(value) for name, value in state.items()},
        )


@dataclasses.dataclass(frozen=True)
class MethodInvocation:
    """One call of a module's method.

    Attributes:
      module_details: the module after the call.
      args_spec: shapes and dtypes of the arguments.
      kwargs_spec: of the named arguments.
      output_spec: of the result.
      context: what interceptors are told.
      call_stack: this module and those whose methods called it, from the inside out.
    """

    module_details: ModuleDetails
    args_spec: tuple[Any, ...]
    kwargs_spec: dict[str, Any]
    output_spec: Any
    context: MethodContext
    call_stack: Sequence[ModuleDetails]


def _specs(tree: Any) -> Any:
    is_array = lambda x: hasattr(x, "shape") and hasattr(x, "dtype")
    return jax.tree.map(lambda x: ArraySpec.from_array(x) if is_array(x) else x, tree)


def as_transformed(f: Any) -> TransformedWithState:
    """A transformed function with state, of whatever came."""
    if isinstance(f, MultiTransformed | MultiTransformedWithState):
        raise TypeError("f must be one function; a multi_transform has several")
    if isinstance(f, Transformed | TransformedWithState):
        return with_empty_state(with_apply_rng(f))
    return transform_with_state(f)


def eval_summary(f: Any) -> Callable[..., Sequence[MethodInvocation]]:
    """Returns a function that lists every call of a module's method, without computing anything.

    Args:
      f: a function that uses modules, or a transformed one.

    Returns:
      A function of the arguments of `f` (arrays or shapes) that returns the calls, the outermost
      and earliest first.

    Example:
      >>> from renga import nn
      >>> calls = nn.experimental.eval_summary(lambda x: nn.nets.MLP([4, 2])(x))(jnp.ones([1, 3]))
      >>> for call in calls:
      ...     print(call.module_details.module.module_name, call.output_spec)
      mlp f32[1,2]
      mlp/~/linear_0 f32[1,4]
      mlp/~/linear_1 f32[1,2]
    """
    init, _ = as_transformed(f)

    def summarise(*args: Any, **kwargs: Any) -> Sequence[MethodInvocation]:
        calls: list[Any] = []
        stack: list[tuple[Any, str]] = []

        def log(next_f: Any, a: Any, k: Any, context: MethodContext) -> Any:
            if context.method_name == "__init__":
                return next_f(*a, **k)
            place = len(calls)
            calls.append(None)
            stack.append((context.module, context.method_name))
            try:
                out = next_f(*a, **k)
                details = ModuleDetails.of(context.module, context.method_name)
                outer = [ModuleDetails.of(m, n) for m, n in stack[-2::-1]]
            finally:
                stack.pop()
            calls[place] = MethodInvocation(details, _specs(a), _specs(k), _specs(out), context, (details, *outer))
            return out

        key = jax.eval_shape(lambda: jax.random.key(0))
        leaves, structure = jax.tree.flatten((args, kwargs))
        arrays = [i for i, x in enumerate(leaves) if hasattr(x, "shape") and hasattr(x, "dtype")]

        def run(rng: Any, values: list[Any]) -> Any:
            filled = list(leaves)
            for i, value in zip(arrays, values, strict=True):
                filled[i] = value
            a, k = jax.tree.unflatten(structure, filled)
            return init(rng, *a, **k)

        with intercept_methods(log):
            jax.eval_shape(run, key, [leaves[i] for i in arrays])
        return calls

    return summarise


def fast_eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`jax.eval_shape` of a function; kept for programs that use it: nothing here is slow.

    Args:
      fun: a function, such as `f.init` or `f.apply`.
      *args: its arguments.
      **kwargs: its named arguments.

    Returns:
      Shapes and dtypes of the result.

    Example:
      >>> fast_eval_shape(jnp.sum, jnp.ones(3)).shape
      ()
    """
    return jax.eval_shape(fun, *args, **kwargs)


# --- as a table ------------------------------------------------------------------------------------

_COLUMNS = ("module", "config", "owned_params", "input", "output", "params_size", "params_bytes")
_TITLES = {
    "module": "Module",
    "config": "Config",
    "owned_params": "Module params",
    "owned_params_size": "Module param count",
    "owned_params_bytes": "Module param bytes",
    "input": "Input",
    "output": "Output",
    "params_size": "Param count",
    "params_bytes": "Param bytes",
}


def tabulate(
    f: Any,
    *,
    columns: Sequence[str] | None = _COLUMNS,
    filters: Sequence[str] | None = ("has_output",),
    tabulate_kwargs: Any = {"tablefmt": "grid"},  # noqa: B006 (the default that programs know)
) -> Callable[..., str]:
    """Returns a function that tells the calls of a model's modules as a table.

    Args:
      f: a function that uses modules, or a transformed one.
      columns: of the table, any of module, config, owned_params, owned_params_size,
        owned_params_bytes, input, output, params_size, params_bytes.
      filters: "has_output" keeps calls with a result, "has_params" those of modules with
        parameters.
      tabulate_kwargs: {"tablefmt": "grid"}, or "plain" for no lines. With others the package `tabulate` draws the
        table, and takes them.

    Returns:
      A function of the arguments of `f`.

    Raises:
      ValueError: on an unknown column or filter.
      ImportError: if `tabulate_kwargs` need the package `tabulate` and it is not there.

    Example:
      >>> from renga import nn
      >>> table = nn.experimental.tabulate(
      ...     lambda x: nn.Linear(2)(x), columns=["module", "output", "params_size"]
      ... )
      >>> print(table(jnp.ones([1, 3])))
      +-----------------+----------+-------------+
      | Module          | Output   | Param count |
      +=================+==========+=============+
      | linear (Linear) | f32[1,2] | 8           |
      +-----------------+----------+-------------+
    """
    columns = _COLUMNS if columns is None else tuple(columns)
    for column in columns:
        if column not in _TITLES:
            raise ValueError(f"tabulate: columns must be of {', '.join(_TITLES)}, got {column!r}")
    for name in filters or ():
        if name not in ("has_output", "has_params"):
            raise ValueError(f"tabulate: filters must be has_output or has_params, got {name!r}")

    draw = _drawing(dict(tabulate_kwargs))

    def table(*args: Any, **kwargs: Any) -> str:
        calls = eval_summary(f)(*args, **kwargs)
        if "has_output" in (filters or ()):
            calls = [c for c in calls if jax.tree.leaves(c.output_spec)]
        if "has_params" in (filters or ()):
            calls = [c for c in calls if c.module_details.params]
        rows = [[_cell(call, column) for column in columns] for call in calls]
        return draw([_TITLES[c] for c in columns], rows)

    return table


def _drawing(options: dict[str, Any]) -> Callable[[Sequence[str], Any], str]:
    """The function that draws the table."""
    if options in ({"tablefmt": "grid"}, {"tablefmt": "plain"}):
        return lambda titles, rows: draw_table(titles, rows, options["tablefmt"] == "grid")
    try:
        tabulate = importlib.import_module("tabulate").tabulate
    except ImportError as error:
        raise ImportError(
            f"tabulate: tabulate_kwargs={options!r} need the package tabulate (pip install tabulate); without it there "
            "are {'tablefmt': 'grid'} and {'tablefmt': 'plain'}"
        ) from error
    return lambda titles, rows: tabulate([["\n".join(cell) for cell in row] for row in rows], titles, **options)


def _cell(call: MethodInvocation, column: str) -> list[str]:
    """The lines of one cell."""
    details = call.module_details
    own = {
        n.rpartition("/")[2]: s for n, s in details.params.items() if n.rpartition("/")[0] == details.module.module_name
    }
    if column == "module":
        lines = [f"{_label(d)}" for d in call.call_stack]
        return [lines[0], *(f" {' ' * (2 * i)}└ {line}" for i, line in enumerate(lines[1:]))]
    if column == "config":
        return repr(details.module).split("\n")
    if column == "input":
        flat = call.args_spec[0] if len(call.args_spec) == 1 and not call.kwargs_spec else None
        return [repr(flat if flat is not None else (*call.args_spec, *call.kwargs_spec.values()))]
    if column == "output":
        return [repr(call.output_spec)]
    if column == "owned_params":
        return [f"{n}: {s}" for n, s in own.items()] or [""]
    specs = list((own if column.startswith("owned") else details.params).values())
    if column.endswith("size"):
        return [str(sum(s.size for s in specs))]
    return [_bytes(sum(s.size * jnp.dtype(s.dtype).itemsize for s in specs))]


def _label(details: ModuleDetails) -> str:
    label = f"{details.module.module_name} ({type(details.module).__name__}"
    return label + (")" if details.method_name == "__call__" else f"#{details.method_name})")


def _bytes(count: int | float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def draw_table(titles: Sequence[str], rows: Any, grid: bool = True) -> str:
    """A table of text; a row is a list of cells, a cell a list of lines."""
    if not titles:
        return ""
    cells = [[[t] for t in titles], *rows]
    widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(titles))]
    rule = "+" + "+".join("-" * (w + 2) for w in widths) + "+"
    out = [rule] if grid else []
    for r, row in enumerate(cells):
        for n in range(max(map(len, row))):
            parts = [(cell[n] if n < len(cell) else "").ljust(w) for cell, w in zip(row, widths, strict=True)]
            out.append("| " + " | ".join(parts) + " |" if grid else "  ".join(parts).rstrip())
        if grid:
            out.append(rule.replace("-", "=") if r == 0 else rule)
    return "\n".join(out)
