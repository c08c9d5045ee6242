"""The operations of a JAX function as a tree of modules, with parameters and FLOPs, as text or as a web page."""

import dataclasses
import functools
import html
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.extend.core

from renga.nn._module import MethodContext, intercept_methods, scope_label
from renga.nn._summarise import ModuleDetails, short_dtype


@dataclasses.dataclass
class Expression:
    """One operation, or one group of operations.

    Attributes:
      primitive: its name; "name_scope" for the operations of a module.
      invars: names of the operands.
      outvars: names of the results.
      flops: floating-point operations, None if they are not counted.
      details: shapes and dtypes of operands and results.
      params: its settings.
      submodule: the operations inside it.
      first_outvar: name of the first result.
      name_stack: names of the modules it belongs to, the outermost first.
    """

    primitive: str
    invars: str
    outvars: str
    flops: int | None = None
    details: str = ""
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    submodule: "Module | None" = None
    first_outvar: str = ""
    name_stack: Sequence[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Module:
    """A module, or any other group of operations.

    Attributes:
      name: its name.
      flops: of all operations in it, None if they are not counted.
      expressions: what it does, in order.
      total_param_size: number of parameters.
      param_info: name → dtype and shape of each.
      total_state_size: number of elements of its state.
      state_info: name → dtype and shape of each.
    """

    name: str
    flops: int | None = None
    expressions: list[Expression] = dataclasses.field(default_factory=list)
    total_param_size: int = 0
    param_info: dict[str, str] = dataclasses.field(default_factory=dict)
    total_state_size: int = 0
    state_info: dict[str, str] = dataclasses.field(default_factory=dict)


ComputeFlops = Callable[[Any, Expression], int]


def make_model_info(
    f: Callable[..., Any],
    name: str | None = None,
    include_module_info: bool = True,
    compute_flops: ComputeFlops | None = None,
    axis_env: Sequence[tuple[Any, int]] | None = None,
) -> Callable[..., Module]:
    """Returns a function that tells what `f` computes, without computing it.

    A loop with a known length counts its body that often, one without counts it once. Of the branches of a `cond` the
    one with the most floating-point operations is counted.

    Args:
      f: a function of arrays, such as `apply` of a transformed function.
      name: what to call it; its own name if None.
      include_module_info: whether modules list their parameters and state.
      compute_flops: called with an equation of the jaxpr and its `Expression`; returns the number of
        floating-point operations. `count_flops` is one; None counts nothing.
      axis_env: names and sizes of mapped axes.

    Returns:
      A function of the arguments of `f`.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.Linear(3)(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 4]))
      >>> info = make_model_info(f.apply, name="f", compute_flops=count_flops)
      >>> print(format_module(info(params, None, jnp.ones([2, 4]))), end="")
      f 54 flops
        linear 54 flops 15 params
          dot_general 48 flops in f32[2,4], f32[4,3], out f32[2,3]
          broadcast_in_dim in f32[3], out f32[2,3]
          add 6 flops in f32[2,3], f32[2,3], out f32[2,3]
    """
    title = name or getattr(f, "__name__", type(f).__name__)

    @functools.wraps(f, updated=())
    def info(*args: Any, **kwargs: Any) -> Module:
        calls = _Calls()
        with intercept_methods(calls.note):
            jaxpr = jax.make_jaxpr(f, axis_env=axis_env)(*args, **kwargs)
        reader = _Reader(calls.details if include_module_info else {}, compute_flops)
        return reader.module(title, jaxpr.jaxpr, ())

    return info


class _Calls:
    """Notes which module each call belongs to, by the names of the calls around it."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.details: dict[tuple[str, ...], ModuleDetails] = {}

    def note(self, next_f: Any, args: Any, kwargs: Any, context: MethodContext) -> Any:
        if context.method_name == "__init__":
            return next_f(*args, **kwargs)
        parts = scope_label(context.module, context.method_name).split("/")
        self.stack += parts
        try:
            out = next_f(*args, **kwargs)
            self.details[tuple(self.stack)] = ModuleDetails.of(context.module, context.method_name)
        finally:
            del self.stack[len(self.stack) - len(parts) :]
        return out


class _Reader:
    """Turns jaxprs into modules."""

    def __init__(self, details: dict[tuple[str, ...], ModuleDetails], compute_flops: ComputeFlops | None):
        self.details = details
        self.compute_flops = compute_flops

    def module(self, name: str, jaxpr: Any, path: tuple[str, ...]) -> Module:
        """The module of a jaxpr; `path` are the scopes that its equations do not know."""
        names = _Names([*jaxpr.constvars, *jaxpr.invars])
        found = [self.expression(eqn, names, path) for eqn in jaxpr.eqns]
        return self.grouped(name, found, 0, path)

    def grouped(self, name: str, found: list[Expression], depth: int, path: tuple[str, ...]) -> Module:
        """A module of the expressions, with those of one scope at `depth` in a module of their own."""
        module = Module(name)
        scope = lambda e: e.name_stack[depth] if len(e.name_stack) > depth else None
        for label, group in itertools.groupby(found, scope):
            if label is None:
                module.expressions += group
            else:
                inner = self.grouped(label, list(group), depth + 1, (*path, label))
                self.describe(inner, (*path, label))
                module.expressions.append(Expression("name_scope", "", "", submodule=inner))
        if self.compute_flops is not None:
            inside = (e.submodule if e.primitive == "name_scope" and e.submodule else e for e in module.expressions)
            module.flops = sum(x.flops or 0 for x in inside)
        return module

    def describe(self, module: Module, path: tuple[str, ...]) -> None:
        """Adds parameters and state of the module that made this scope."""
        plain = tuple(re.sub(r"^(?:\w+\()*([^()]*)\)*$", r"\1", label) for label in path)
        # Scopes of others (jax.named_scope, a loop) may stand between those of the calls.
        fitting = [p for p in self.details if p[-1] == plain[-1] and _is_subsequence(p, plain)]
        if not fitting:
            return
        details = self.details[max(fitting, key=len)]
        own = details.module.module_name
        relative = lambda n: ("." + n.removeprefix(own)).replace("/~/", "/") if n.startswith(f"{own}/") else n
        module.total_param_size = sum(spec.size for spec in details.params.values())
        module.param_info = {relative(n): str(spec) for n, spec in sorted(details.params.items())}
        module.total_state_size = sum(s.size for tree in details.state.values() for s in jax.tree.leaves(tree))
        module.state_info = {relative(n): str(spec) for n, spec in sorted(details.state.items())}

    def expression(self, eqn: Any, names: "_Names", path: tuple[str, ...]) -> Expression:
        """One equation, with what is inside it."""
        # The names of the results come after those of the operands.
        invars = " ".join(names.of(v) for v in eqn.invars)
        outvars = [names.of(v) for v in eqn.outvars]
        stack = [label for label in str(eqn.source_info.name_stack).split("/") if label]
        found = Expression(
            eqn.primitive.name, invars, " ".join(outvars), first_outvar=outvars[0] if outvars else "", name_stack=stack
        )
        found.submodule, times = self.inside(eqn, (*path, *stack))
        if found.submodule is None:
            found.params = {key: str(value) for key, value in eqn.params.items()}
            operands = ", ".join(_short(v.aval) for v in eqn.invars)
            results = ", ".join(_short(v.aval) for v in eqn.outvars)
            found.details = f"in {operands}, out {results}" if operands else f"out {results}"
            if self.compute_flops is not None:
                found.flops = self.compute_flops(eqn, found)
        elif self.compute_flops is not None:
            found.flops = times * (found.submodule.flops or 0)
        return found

    def inside(self, eqn: Any, path: tuple[str, ...]) -> tuple[Module | None, int]:
        """The module of the jaxpr in an equation, and how often it runs."""
        kind, params = eqn.primitive.name, eqn.params
        if kind == "scan":
            title = f"scan length={params['length']} unroll={params['unroll']}"
            return self.module(title, _plain(params["jaxpr"]), path), params["length"]
        if kind == "while":
            return self.module("while", _plain(params["body_jaxpr"]), path), 1
        if kind == "cond":
            branches = [self.module(f"branch {i}", _plain(b), path) for i, b in enumerate(params["branches"])]
            groups = [Expression("branch", "", "", submodule=branch) for branch in branches]
            # One of them runs.
            flops = None if self.compute_flops is None else max(branch.flops or 0 for branch in branches)
            return Module("cond", flops, groups), 1
        for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
            if key in params:
                title = params.get("name") or _TITLES.get(kind, kind)
                return self.module(str(title), _plain(params[key]), path), 1
        return None, 1


_TITLES = {
    "custom_jvp_call": "custom_jvp",
    "custom_vjp_call": "custom_vjp",
    "remat2": "remat",
    "checkpoint": "remat",
}


def _plain(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _is_subsequence(part: Sequence[str], whole: Sequence[str]) -> bool:
    rest = iter(whole)
    return all(label in rest for label in part)


class _Names:
    """Short names of variables: a, b, ..., z, ba, bb, ..."""

    def __init__(self, variables: Sequence[Any]):
        self.given: dict[Any, str] = {}
        for variable in variables:
            self.of(variable)

    def of(self, variable: Any) -> str:
        """The name of a variable; the value of a literal."""
        if isinstance(variable, jax.extend.core.Literal):
            return f"Literal({variable.val})"
        if variable not in self.given:
            self.given[variable] = _letters(len(self.given))
        return self.given[variable]


def _letters(number: int) -> str:
    high, low = divmod(number, 26)
    return (_letters(high) if high else "") + chr(ord("a") + low)


def _short(aval: Any) -> str:
    shape, dtype = getattr(aval, "shape", None), getattr(aval, "dtype", None)
    if shape is None or dtype is None:
        return str(aval)
    return f"{short_dtype(dtype)}[{','.join(map(str, shape))}]"


# --- counting ------------------------------------------------------------------------------------

_FREE = """
    bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy copy_p device_put dynamic_slice
    dynamic_update_slice expand_dims gather imag iota pad random_bits random_fold_in random_seed random_split
    random_unwrap random_wrap real reshape rev select_n slice split squeeze stop_gradient transpose
"""
_REDUCTIONS = ("reduce_", "arg", "cum")


def count_flops(eqn: Any, expression: Expression) -> int:
    """Counts the floating-point operations of one equation of a jaxpr.

        product, convolution:  2 · outputs · terms of each sum
        reduction, scan:       one for each input
        all else:              one for each output; moving and casting are free

    Args:
      eqn: the equation.
      expression: what is known of it already; without effect.

    Example:
      >>> jaxpr = jax.make_jaxpr(jnp.dot)(jnp.ones([2, 3]), jnp.ones([3, 4]))
      >>> count_flops(jaxpr.eqns[0], Expression("dot_general", "a b", "c"))  # 2 · (2 · 4) · 3
      48
    """
    del expression
    kind = eqn.primitive.name
    if kind in _FREE.split():
        return 0
    sizes = [math.prod(getattr(v.aval, "shape", ())) for v in eqn.outvars]
    if kind in ("dot_general", "ragged_dot"):
        lhs = eqn.invars[0].aval.shape
        (contracted, _), _ = eqn.params["dimension_numbers"] if kind == "dot_general" else (((len(lhs) - 1,), ()), ())
        return 2 * sum(sizes) * math.prod(lhs[axis] for axis in contracted)
    if kind == "conv_general_dilated":
        kernel, spec = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"].rhs_spec
        return 2 * sum(sizes) * math.prod(kernel[axis] for axis in spec[1:])
    if kind.startswith(_REDUCTIONS):
        return math.prod(eqn.invars[0].aval.shape)
    return sum(sizes)


# --- as text -------------------------------------------------------------------------------------


def _with_unit(number: int | float, unit: str) -> str:
    """12345678 flops → "12.35 Mflops"."""
    place = 0
    while number >= 1000 and place < 5:
        number, place = number / 1000, place + 1
    return f"{number:.4g} {' kMGTP'[place].strip()}{unit}"


def _sizes(module: Module) -> Iterator[str]:
    if module.flops:
        yield _with_unit(module.flops, "flops")
    if module.total_param_size:
        yield _with_unit(module.total_param_size, "params")
    if module.total_state_size:
        yield _with_unit(module.total_state_size, "state")


def format_module(module: Module, depth: int = 0) -> str:
    """Tells a module as indented text.

    Args:
      module: what `make_model_info` found.
      depth: how far it is indented.

    Example:
      >>> print(format_module(make_model_info(jnp.sin, name="f")(jnp.ones(2))), end="")
      f
        sin in f32[2], out f32[2]
    """
    lines = [" ".join(["  " * depth + module.name, *_sizes(module)])]
    for expression in module.expressions:
        if expression.submodule is not None:
            lines.append(format_module(expression.submodule, depth + 1).removesuffix("\n"))
        else:
            count = [_with_unit(expression.flops, "flops")] if expression.flops else []
            lines.append(" ".join(["  " * (depth + 1) + expression.primitive, *count, expression.details]))
    return "\n".join(lines) + "\n"


# --- as a page -----------------------------------------------------------------------------------


def _table(title: str, rows: dict[str, str]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><td>{html.escape(n)}</td><td>{html.escape(v)}</td></tr>" for n, v in rows.items())
    return f"<table><caption>{title}</caption>{cells}</table>"


def as_html(module: Module, min_flop: int = 1000, outvars: str = "", last: bool = False) -> str:
    """Tells a module as nested lists in HTML that open at a click.

    Args:
      module: what `make_model_info` found.
      min_flop: operations with fewer FLOPs are left out; those not counted are kept.
      outvars: names of the module's results.
      last: whether it is the last in its list.

    Example:
      >>> print(as_html(make_model_info(jnp.sin, name="<f>")(jnp.ones(2))))  # doctest: +ELLIPSIS
      <details class="module">...&lt;f&gt;...sin...</details>
    """
    items = []
    shown = [e for e in module.expressions if (flops := _flops(e)) is None or flops >= min_flop]
    for place, e in enumerate(shown):
        if e.submodule is not None:
            items.append(f"<li>{as_html(e.submodule, min_flop, e.outvars, place == len(shown) - 1)}</li>")
            continue
        count = f' <span class="size">{_with_unit(e.flops, "flops")}</span>' if e.flops else ""
        result = f"{html.escape(e.outvars)} = " if e.outvars else ""
        call = f"{result}<b>{html.escape(e.primitive)}</b> {html.escape(e.invars)}{count}"
        rows = {"shapes": e.details, **e.params}
        items.append(f'<li><div class="operation" tabindex="0">{call}{_card(_table("operation", rows))}</div></li>')
    result = f"{html.escape(outvars)} = " if outvars else ""
    sizes = "".join(f' <span class="size">{html.escape(size)}</span>' for size in _sizes(module))
    tables = _table("parameters", module.param_info) + _table("state", module.state_info)
    head = f"<summary>{result}<b>{html.escape(module.name)}</b>{sizes}{_card(tables)}</summary>"
    kind = "module last" if last else "module"
    return f'<details class="{kind}">{head}<ol>{"".join(items)}</ol></details>'


def _flops(expression: Expression) -> int | None:
    return expression.submodule.flops if expression.submodule is not None else expression.flops


def _card(tables: str) -> str:
    return f'<div class="card">{tables}</div>' if tables else ""


def css() -> str:
    """Returns the style of the page.

    Example:
      >>> ".card" in css()
      True
    """
    return """\
body { font: 14px/1.5 monospace; margin: 2em; }
ol { list-style: none; margin: 0; padding-left: 1.2em; border-left: 1px solid #ccc; }
details.last > ol { border-left-color: transparent; }
summary, .operation { position: relative; cursor: pointer; white-space: nowrap; }
.size { color: #666; margin-left: 0.8em; }
.card { display: none; position: absolute; left: 3em; top: 1.5em; z-index: 1; padding: 0.5em 1em;
  background: #fff; border: 1px solid #999; box-shadow: 0 2px 8px #0003; white-space: normal; }
summary:hover > .card, .operation:hover > .card, .operation:focus > .card { display: block; }
caption { text-align: left; font-weight: bold; }
td { padding-right: 1em; vertical-align: top; }
"""


def js() -> str:
    """Returns the script of the page: a click with Alt opens or closes all that is inside.

    Example:
      >>> "altKey" in js()
      True
    """
    return """\
document.addEventListener("click", event => {
  const summary = event.target.closest("summary");
  if (!summary || !event.altKey) return;
  const open = !summary.parentElement.open;
  for (const inner of summary.parentElement.querySelectorAll("details")) inner.open = open;
});
"""


def as_html_page(module: Module, min_flop: int = 1000) -> str:
    """Tells a module as a whole web page, which needs no other file.

    Args:
      module: what `make_model_info` found.
      min_flop: operations with fewer FLOPs are left out; those not counted are kept.

    Example:
      >>> as_html_page(make_model_info(jnp.sin, name="f")(jnp.ones(2))).startswith("<!doctype html>")
      True
    """
    title = html.escape(module.name)
    body = as_html(module, min_flop, last=True).replace("<details", "<details open", 1)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>\n{css()}</style>\n</head>\n<body>\n{body}\n<script>\n{js()}</script>\n</body>\n</html>\n"
    )


__all__ = [
    "Expression",
    "Module",
    "as_html",
    "as_html_page",
    "count_flops",
    "css",
    "format_module",
    "js",
    "make_model_info",
]
