"""Where the first number that is not finite comes from."""

import dataclasses
import linecache
import pathlib
import re
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from renga.testing._differences import is_inexact
from renga.testing._programs import Eqn, bind, closed_inside, core, is_call, scan_parts, scan_slice

_HERE = str(pathlib.Path(__file__).parent)
_JAX = str(pathlib.Path(jax.__file__).parent)
_WRAPPER = re.compile(r"\b(?:transpose|jvp|vmap|jit|pjit|checkpoint|rematted_computation|remat)\(([^()]*)\)")


@dataclasses.dataclass(frozen=True)
class NanReport:
    """What made the first NaN or infinity that reached a result.

    Attributes:
      number: "NaN" or "infinity".
      operation: name of JAX's operation, "argument" if it came in from outside.
      direction: "forward" or "backward" pass.
      layer: the name scopes around the operation, joined by "/".
      iterations: numbers of the turns of loops around it, outermost first.
      source: "file:line in function: code" of the user's program.
      inputs: what the operation got, one text each.
      cause: for a NaN from an infinity, where that came from.

    Example:
      >>> print(NanReport("NaN", "sqrt", layer="head", iterations=(3,), inputs=("float32[2] in [-1.0, 1.0]",)))
      NaN made by sqrt in the forward pass, layer head, iteration 3 of the loop; from float32[2] in [-1.0, 1.0]
    """

    number: str
    operation: str
    direction: str = "forward"
    layer: str = ""
    iterations: tuple[int, ...] = ()
    source: str = ""
    inputs: tuple[str, ...] = ()
    cause: "NanReport | None" = None

    def __str__(self) -> str:
        if self.operation == "argument":
            return f"{self.number} came in with {self.source}"
        text = f"{self.number} made by {self.operation} in the {self.direction} pass"
        if self.layer:
            text += f", layer {self.layer}"
        if self.iterations:
            text += f", iteration {', '.join(map(str, self.iterations))} of the loop"
        if self.source:
            text += f", at {self.source}"
        if self.inputs:
            text += f"; from {', '.join(self.inputs)}"
        return text + (f"; there {self.cause}" if self.cause else "")


def explain_nan(fn: Callable[..., Any], *args: Any, backward: bool = True) -> NanReport | None:
    """Finds the operation that made the first NaN or infinity in the results of a function.

    The function is traced once and its program run operation by operation; from a bad result the search goes back to
    the first operation that makes a bad number of good ones, into `jit`, branches, loops and custom rules. A NaN that
    reaches no result, such as one that `where` leaves out, is none. If all results are finite the gradient of their sum
    is searched too.

    Args:
      fn: a function of trees of arrays: a loss, its gradient, a step of training.
      *args: its arguments.
      backward: whether to search the gradient where the results are finite.

    Returns:
      A report, whose `str` is one line; None if everything is finite.

    Example:
      >>> def loss(x):
      ...     with jax.named_scope("head"):
      ...         return jnp.sqrt(x).sum()
      >>> report = explain_nan(loss, jnp.array([1.0, -1.0]))
      >>> report.operation, report.direction, report.layer
      ('sqrt', 'forward', 'head')
      >>> explain_nan(loss, jnp.array([1.0, 0.0])).direction
      'backward'
    """
    everything, treedef = jax.tree.flatten(args)
    at = [i for i, x in enumerate(everything) if _is_array(x)]  # all else is part of the program
    leaves = [everything[i] for i in at]

    def flat(*xs: Any) -> list:
        filled = list(everything)
        for i, x in zip(at, xs, strict=True):
            filled[i] = x
        return jax.tree.leaves(fn(*jax.tree.unflatten(treedef, filled)))

    try:
        closed = jax.make_jaxpr(flat)(*leaves)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        return _eagerly(fn, args)
    paths = jax.tree.leaves_with_path(args)
    names = [f"args{jax.tree_util.keystr(paths[i][0])}" for i in at]
    report = _search(closed, leaves, names)
    if report is not None or not backward or "transpose(" in _all_names(closed):
        return report
    where = [i for i, x in enumerate(leaves) if is_inexact(x)]
    if not where or not any(is_inexact(y) for y in closed.out_avals):
        return None

    def gradient(*xs: Any) -> Any:
        def total(inexact: list) -> Any:
            filled = list(xs)
            for i, x in zip(where, inexact, strict=True):
                filled[i] = x
            return sum(jnp.sum(jnp.real(y)).astype(jnp.float32) for y in flat(*filled) if is_inexact(y))

        return jax.grad(total)([jnp.asarray(xs[i]) for i in where])

    try:
        return _search(jax.make_jaxpr(gradient)(*leaves), leaves, names)
    except (NotImplementedError, TypeError, ValueError):
        return None  # the results have no gradient


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


def _all_names(closed: Any) -> str:
    texts = []
    for eqn in closed.jaxpr.eqns:
        texts.append(str(eqn.source_info.name_stack))
        texts += map(_all_names, closed_inside(eqn))
    return " ".join(texts)


def _has(kind: str, x: Any) -> bool:
    if not isinstance(x, jax.Array | np.ndarray | np.generic | float | complex) or not is_inexact(x):
        return False
    test: Any = jnp.isnan if kind == "NaN" else jnp.isinf
    return bool(test(x).any())


def _search(closed: Any, inputs: list, names: list[str]) -> NanReport | None:
    compiled = jax.jit(core().jaxpr_as_fun(closed))
    for kind in ("NaN", "infinity"):
        if any(_has(kind, y) for y in compiled(*inputs)):
            found = _Search(closed, inputs, names, ()).blame(kind)
            if found:
                return found
    return None


@dataclasses.dataclass
class _Search:
    """One program with its values: those of the loops and functions around it are given by `stack`."""

    closed: Any
    inputs: list
    names: list[str]
    stack: tuple[str, ...]
    iterations: tuple[int, ...] = ()
    parent: "tuple[_Search, Eqn, int] | None" = None  # the search around, its operation, where inputs begin there

    def __post_init__(self) -> None:
        jaxpr = self.closed.jaxpr
        self.values = dict(zip(jaxpr.constvars, self.closed.consts, strict=True))
        self.values |= dict(zip(jaxpr.invars, self.inputs, strict=True))
        self.maker: dict[Any, Eqn] = {}
        self.served: dict[Any, bool] = {}
        for eqn in jaxpr.eqns:
            for var, value in zip(eqn.outvars, bind(eqn, self.read(eqn.invars)), strict=True):
                self.values[var], self.maker[var] = value, eqn

    def read(self, variables: list) -> list:
        return [x.val if isinstance(x, core().Literal) else self.values[x] for x in variables]

    def blame(self, kind: str) -> NanReport | None:
        for var in self.closed.jaxpr.outvars:
            if _has(kind, self.read([var])[0]):
                return self._back(var, kind)
        return None

    def _back(self, var: Any, kind: str) -> NanReport | None:
        """Goes back from a bad value to what made it of good ones."""
        while True:
            if isinstance(var, core().Literal) or var not in self.maker:
                return self._from_outside(var, kind)
            eqn = self.maker[var]
            bad = [x for x, value in zip(eqn.invars, self.read(eqn.invars), strict=True) if _has(kind, value)]
            if not bad:
                return self._inside(eqn, kind) or self._report(eqn, kind)
            var = bad[0]

    def _from_outside(self, var: Any, kind: str) -> NanReport | None:
        invars = list(self.closed.jaxpr.invars)
        at = next((i for i, x in enumerate(invars) if x is var), None)
        if at is not None and self.parent:
            search, eqn, offset = self.parent
            outer = eqn.invars[at + offset]
            return search._back(outer, kind) if _has(kind, search.read([outer])[0]) else None
        name = self.names[at] if at is not None and at < len(self.names) else "a constant that the function closes over"
        return NanReport(kind, "argument", source=name)

    def _report(self, eqn: Eqn, kind: str) -> NanReport:
        xs = self.read(eqn.invars)
        cause = None
        if kind == "NaN":
            for var, x in zip(eqn.invars, xs, strict=True):
                if _has("infinity", x) and not isinstance(var, core().Literal) and var in self.maker:
                    cause = self._back(var, "infinity")
                    break
        names = "/".join((*self.stack, str(eqn.source_info.name_stack)))
        backward = "transpose(" in names or all(map(self._serves_derivative, eqn.outvars))
        direction = "backward" if backward else "forward"
        shown = tuple(_show(x) for x in xs)
        source, parent = _source(eqn), self.parent
        while not source and parent:  # JAX's own functions are traced once, for all callers
            source, parent = _source(parent[1]), parent[0].parent
        return NanReport(kind, eqn.primitive.name, direction, _layer(names), self.iterations, source, shown, cause)

    def _serves_derivative(self, var: Any) -> bool:
        """Returns whether a value is used, and by nothing but the backward pass, such as 1/2√x for √x."""
        if var in self.served:
            return self.served[var]
        users = [eqn for eqn in self.closed.jaxpr.eqns if any(x is var for x in eqn.invars)]
        served = [
            "transpose(" in str(eqn.source_info.name_stack) or all(map(self._serves_derivative, eqn.outvars))
            for eqn in users
        ]
        for i, out in enumerate(self.closed.jaxpr.outvars):
            if out is var:
                served.append(bool(self.parent) and self.parent[0]._serves_derivative(self.parent[1].outvars[i]))
        self.served[var] = bool(served) and all(served)
        return self.served[var]

    def _inside(self, eqn: Eqn, kind: str) -> NanReport | None:
        """Searches the program inside an operation; None if it has none or the NaN is not to be found there."""
        name, inside, xs = eqn.primitive.name, closed_inside(eqn), self.read(eqn.invars)
        stack = (*self.stack, str(eqn.source_info.name_stack))

        def deeper(closed: Any, xs: list, offset: int, *turn: int) -> NanReport | None:
            return _Search(closed, xs, [], stack, (*self.iterations, *turn), (self, eqn, offset)).blame(kind)

        if is_call(eqn):
            return deeper(inside[0], xs, 0)
        if name == "cond":
            branches = eqn.params["branches"]
            return deeper(branches[min(max(int(xs[0]), 0), len(branches) - 1)], xs[1:], 1)
        if name == "scan":
            return self._scan(eqn, xs, kind, deeper)
        if name == "while":
            return self._while(eqn, xs, kind, deeper)
        return None

    def _scan(self, eqn: Eqn, xs: list, kind: str, deeper: Callable) -> NanReport | None:
        const, carry, _ = scan_parts(eqn, xs)
        body, length, backwards = eqn.params["jaxpr"], eqn.params["length"], eqn.params["reverse"]
        step = core().jaxpr_as_fun(body)
        at = lambda turn: length - 1 - turn if backwards else turn
        found = _first_turn(
            lambda i, c: step(*const, *c, *scan_slice(eqn, xs, at(i))), lambda i, _: i < length, carry, kind
        )
        if found is None:
            return None
        turn, carry = found
        return deeper(body, [*const, *carry, *scan_slice(eqn, xs, at(turn))], 0, at(turn))

    def _while(self, eqn: Eqn, xs: list, kind: str, deeper: Callable) -> NanReport | None:
        n, m = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        goes_on, step = (core().jaxpr_as_fun(eqn.params[name]) for name in ("cond_jaxpr", "body_jaxpr"))
        found = _first_turn(
            lambda _, c: step(*xs[n : n + m], *c), lambda _, c: goes_on(*xs[:n], *c)[0], xs[n + m :], kind
        )
        if found is None:
            return None
        turn, carry = found
        return deeper(eqn.params["body_jaxpr"], [*xs[n : n + m], *carry], n, turn)


def _first_turn(step: Callable, goes_on: Callable, carry: list, kind: str) -> tuple[int, list] | None:
    """Returns the first turn of a loop whose results are bad, and the carry it starts with."""
    test: Any = jnp.isnan if kind == "NaN" else jnp.isinf
    size = len(carry)

    def body(loop: tuple) -> tuple:
        i, carry, _, _ = loop
        out = step(i, carry)
        bad = [test(y).any() for y in out if is_inexact(y)]
        return i + 1, list(out[:size]), carry, jnp.any(jnp.array([False, *bad]))

    def run(carry: list) -> tuple:
        start = (jnp.int32(0), carry, carry, jnp.bool_(False))
        return jax.lax.while_loop(lambda loop: ~loop[3] & goes_on(loop[0], loop[1]), body, start)

    i, _, before, bad = jax.jit(run)([jnp.asarray(x) for x in carry])
    return (int(i) - 1, before) if bad else None


def _layer(names: str) -> str:
    """Returns the name scopes of a name stack without the marks of transformations."""
    before = None
    while before != names:
        before, names = names, _WRAPPER.sub(r"\1", names)
    return "/".join(part for part in names.split("/") if part and part not in ("checkpoint", "rematted_computation"))


def _show(x: Any) -> str:
    """Writes the dtype, shape and range of an array."""
    x = jax.random.key_data(x) if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key) else x
    dtype, shape = jnp.result_type(x), list(np.shape(x))
    if np.size(x) == 1:
        return f"{dtype}{shape} {np.asarray(x).ravel()[0]!s}"
    if np.size(x) == 0 or not jnp.issubdtype(dtype, jnp.floating):
        return f"{dtype}{shape}"
    return f"{dtype}{shape} in [{np.asarray(jnp.min(x))!s}, {np.asarray(jnp.max(x))!s}]"


def _is_machinery(filename: str) -> bool:
    return filename.startswith((_JAX, _HERE, "<frozen")) or "contextlib" in filename


def _source(eqn: Eqn) -> str:
    """Returns the innermost line of the user's program that made an operation."""
    trace = getattr(eqn.source_info, "traceback", None)
    frames = [f for f in getattr(trace, "frames", ()) if not _is_machinery(f.file_name)]
    if not frames:
        return ""
    frame = frames[0]
    code = linecache.getline(frame.file_name, frame.line_num).strip()[:100]
    return f"{frame.file_name}:{frame.line_num} in {frame.function_name}" + (f": {code}" if code else "")


def _eagerly(fn: Callable[..., Any], args: tuple) -> NanReport | None:
    """Runs a function that cannot be traced, with JAX's own checks on each operation."""
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            fn(*args)
    except FloatingPointError as error:
        found = re.search(r"\((nan|inf)\).*?encountered in ([\w-]+)", str(error))
        number = "infinity" if found and found[1] == "inf" else "NaN"
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_machinery(f.filename)]
        line = frames[-1] if frames else None
        source = f"{line.filename}:{line.lineno} in {line.name}: {(line.line or '')[:100]}" if line else ""
        return NanReport(number, found[2] if found else "an operation", source=source)
    return None
