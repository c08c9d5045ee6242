"""Inverses of functions of one array, read from their programs."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import erfinv

Rule = Callable[..., Any]


def _core() -> Any:
    """`jax.extend.core`, imported when it is used, because that takes a while."""
    return importlib.import_module("jax.extend.core")


def _is_literal(atom: Any) -> bool:
    return isinstance(atom, _core().Literal)


# Inverses of an operation of one number.
_UNARY: dict[str, Rule] = {
    "exp": jnp.log, "log": jnp.exp, "expm1": jnp.log1p, "log1p": jnp.expm1, "exp2": jnp.log2,
    "tanh": jnp.arctanh, "atanh": jnp.tanh, "sinh": jnp.arcsinh, "asinh": jnp.sinh, "cosh": jnp.arccosh,
    "acosh": jnp.cosh, "tan": jnp.arctan, "atan": jnp.tan, "asin": jnp.sin, "acos": jnp.cos,
    "sqrt": jnp.square, "square": jnp.sqrt, "rsqrt": lambda y: 1 / y**2, "cbrt": lambda y: y**3,
    "neg": lambda y: -y, "logistic": lambda y: jnp.log(y) - jnp.log1p(-y),
    "erf": erfinv, "erf_inv": lax.erf, "erfc": lambda y: erfinv(1 - y), "conj": jnp.conj,
    "copy": lambda y: y, "copy_p": lambda y: y, "reduce_precision": lambda y: y, "real": lambda y: y,
    "optimization_barrier": lambda y: y, "stop_gradient": lambda y: y, "pcast": lambda y: y, "pvary": lambda y: y,
}  # fmt: skip

# Of y = x ∘ c and of y = c ∘ x, given y and c.
_BINARY: dict[str, tuple[Rule, Rule]] = {
    "add": (lambda y, c: y - c, lambda y, c: y - c),
    "add_any": (lambda y, c: y - c, lambda y, c: y - c),
    "sub": (lambda y, c: y + c, lambda y, c: c - y),
    "mul": (lambda y, c: y / c, lambda y, c: y / c),
    "div": (lambda y, c: y * c, lambda y, c: c / y),
    "pow": (lambda y, c: y ** (1 / c), lambda y, c: jnp.log(y) / jnp.log(c)),
}

_REGISTERED: dict[str, tuple[Rule, Rule | None]] = {}


def register_inverse(
    primitive: Any, inverse_left: Callable[..., Any], inverse_right: Callable[..., Any] | None = None
) -> None:
    """Registers the inverse of an operation of JAX for `Lambda` and `as_bijector`.

    Args:
      primitive: the operation, such as `jax.lax.sin_p`.
      inverse_left: of y = f(x), the function from y to x; of y = f(x, c), that from y and c.
      inverse_right: of y = f(c, x), the function from c and y to x.

    Raises:
      TypeError: if primitive is no operation of JAX, or an inverse is no function.

    Example:
      >>> register_inverse(jax.lax.sin_p, jnp.arcsin)
      >>> from renga.dist import Lambda
      >>> Lambda(jnp.sin).inverse(1.0).round(4)  # π/2
      Array(1.5708, dtype=float32, weak_type=True)
    """
    if not hasattr(primitive, "bind") or not isinstance(getattr(primitive, "name", None), str):
        raise TypeError(f"register_inverse: primitive must be an operation such as jax.lax.sin_p, got {primitive!r}")
    for name, rule in (("inverse_left", inverse_left), ("inverse_right", inverse_right)):
        if rule is not None and not callable(rule):
            raise TypeError(f"register_inverse: {name} must be a function, got {rule!r}")
    _REGISTERED[primitive.name] = (inverse_left, inverse_right)


def _call(rule, params, *args):
    """Calls a registered rule, with those parameters of the operation that it takes by name."""
    try:
        parameters = inspect.signature(rule).parameters.values()
    except (TypeError, ValueError):
        return rule(*args)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return rule(*args, **params)
    names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.name in params}
    return rule(*args, **{name: value for name, value in params.items() if name in names})


def _inner(eqn) -> tuple[Any, list[Any]] | None:
    """The program that an operation calls, and its constants."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        program = eqn.params.get(name)
        if isinstance(program, _core().ClosedJaxpr):
            return program.jaxpr, list(program.consts)
        if hasattr(program, "eqns"):
            return program, []
    return None


def _is_call(eqn) -> bool:
    return eqn.primitive.name not in ("scan", "while", "cond") and _inner(eqn) is not None


def _results(eqn, values):
    """What an operation gives, of values that are known."""
    if not _is_call(eqn):
        results = eqn.primitive.bind(*values, **eqn.params)
        return results if eqn.primitive.multiple_results else [results]
    program, constants = _inner(eqn)  # pyrefly: ignore[not-iterable]
    known = dict(zip([*program.constvars, *program.invars], [*constants, *values], strict=True))
    read = lambda atom: atom.val if _is_literal(atom) else known[atom]
    for inner in program.eqns:
        known.update(zip(inner.outvars, _results(inner, list(map(read, inner.invars))), strict=True))
    return list(map(read, program.outvars))


def _invert(program, constants, inputs, place, outputs):
    """The value of input `place`, from the other inputs and the output."""
    known = {}
    depends = {program.invars[place]}
    known.update(zip(program.constvars, constants, strict=True))
    known.update((var, value) for i, (var, value) in enumerate(zip(program.invars, inputs, strict=True)) if i != place)
    read = lambda atom: atom.val if _is_literal(atom) else known[atom]
    is_dependent = lambda atom: not _is_literal(atom) and atom in depends

    todo, uses = [], {}
    for eqn in program.eqns:
        dependent = [i for i, atom in enumerate(eqn.invars) if is_dependent(atom)]
        if dependent:
            todo.append((eqn, dependent))
            depends.update(eqn.outvars)
            for i in dependent:
                uses[eqn.invars[i]] = uses.get(eqn.invars[i], 0) + 1
        else:
            known.update(zip(eqn.outvars, _results(eqn, list(map(read, eqn.invars))), strict=True))
    for atom in program.outvars:
        if is_dependent(atom):
            uses[atom] = uses.get(atom, 0) + 1
    needed = {program.outvars[0]: outputs}
    if not is_dependent(program.outvars[0]):
        raise NotImplementedError("Lambda: the function does not depend on its input, so it has no inverse")
    for eqn, dependent in reversed(todo):
        (out, *rest) = eqn.outvars
        if out not in needed:
            continue
        used = eqn.invars[dependent[0]]
        if len(dependent) > 1 or uses[used] > 1 or rest:
            raise NotImplementedError(
                f"Lambda: no inverse is found, because the function uses a number more than once (at {eqn.primitive}); "
                "write it so that the input appears once, or give the inverse"
            )
        values = [None if i == dependent[0] else read(atom) for i, atom in enumerate(eqn.invars)]
        needed[used] = _step(eqn, dependent[0], values, needed[out])
    return needed[program.invars[place]]


def _step(eqn, place, values, y):
    name, params, aval = eqn.primitive.name, eqn.params, eqn.invars[place].aval
    if name in _REGISTERED:
        left, right = _REGISTERED[name]
        if len(values) == 1:
            return _call(left, params, y)
        if place == 0:
            return _call(left, params, y, values[1])
        if right is not None:
            return _call(right, params, values[0], y)
    if name in _UNARY:
        return _UNARY[name](y)
    if name in _BINARY and len(values) == 2:
        return _BINARY[name][place](y, values[1 - place])
    if name == "integer_pow":
        n = params["y"]
        root = jnp.abs(y) ** (1 / abs(n))
        root = jnp.sign(y) * root if n % 2 else root
        return root if n > 0 else 1 / root
    if name == "convert_element_type" and jnp.issubdtype(params["new_dtype"], jnp.floating):
        return lax.convert_element_type(y, aval.dtype)
    if name in ("reshape", "squeeze", "expand_dims") or (
        name == "broadcast_in_dim" and np.prod(params["shape"]) == np.prod(aval.shape)
    ):
        return jnp.reshape(y, aval.shape)
    if name == "rev":
        return lax.rev(y, params["dimensions"])
    if name == "transpose":
        return lax.transpose(y, tuple(np.argsort(params["permutation"])))
    if _is_call(eqn):
        program, constants = _inner(eqn)  # pyrefly: ignore[not-iterable]
        return _invert(program, constants, values, place, y)
    raise NotImplementedError(
        f"Lambda: no inverse of the operation {name!r} is known; give the inverse, or register it with register_inverse"
    )


def inverse_of(function: Callable[..., Any], y: Any) -> Any:
    """x of f(x) = y, for f whose program uses x once; x has the shape of y."""
    y = y if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(jnp.result_type(float))
    program = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(y.shape, y.dtype))
    if len(program.jaxpr.outvars) != 1:
        raise NotImplementedError("Lambda: the function must return one array to be inverted")
    return _invert(program.jaxpr, program.consts, [None], 0, y)


_LINEAR = {
    "add", "sub", "neg", "mul", "div", "convert_element_type", "reshape", "squeeze", "expand_dims", "broadcast_in_dim",
    "rev", "transpose", "copy", "add_any", "reduce_precision", "concatenate", "slice",
}  # fmt: skip


def is_affine(function: Callable[..., Any]) -> bool:
    """Whether the program of a function of numbers is affine on the face of it."""
    try:
        program = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((), jnp.result_type(float)))
        return _all_affine(program.jaxpr, [True])
    except Exception:  # it takes no numbers, or fails on them: nothing is known
        return False


def _all_affine(program, dependent_inputs) -> bool:
    depends = {var for var, flag in zip(program.invars, dependent_inputs, strict=True) if flag}
    for eqn in program.eqns:
        flags = [not _is_literal(atom) and atom in depends for atom in eqn.invars]
        if not any(flags):
            continue
        name = eqn.primitive.name
        if _is_call(eqn):
            if not _all_affine(_inner(eqn)[0], flags):  # pyrefly: ignore[unsupported-operation]
                return False
        elif name not in _LINEAR or (name == "mul" and all(flags)) or (name == "div" and flags[1]):
            return False
        depends.update(eqn.outvars)
    return True
