"""Runs traced programs operation by operation."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

Eqn = Any  # jax.extend.core.JaxprEqn


@functools.cache
def core() -> Any:
    """`jax.extend.core`, imported where it is first used: it brings much along."""
    from jax.extend import core

    return core


def closed_inside(eqn: Eqn) -> list[Any]:
    """Returns the programs inside an operation, with their constants."""
    found = []
    for value in eqn.params.values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            if hasattr(inner, "jaxpr") and hasattr(inner, "consts"):
                found.append(inner)
            elif hasattr(inner, "eqns") and hasattr(inner, "constvars"):
                found.append(core().ClosedJaxpr(inner, ()))
    return found


def bind(eqn: Eqn, inputs: list) -> list:
    """Runs one operation."""
    # Some releases give the parameters alone, some the functions among them too.
    params = dict(eqn.params)
    if "donated_invars" in params:  # the values are looked at again
        params["donated_invars"] = (False,) * len(params["donated_invars"])
    given = eqn.primitive.get_bind_params(params)
    functions, params = ((), given) if isinstance(given, dict) else (given[0], given[-1])
    out = eqn.primitive.bind(*functions, *inputs, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def is_call(eqn: Eqn) -> bool:
    """Returns whether an operation runs one program once, on its own arguments."""
    inside = closed_inside(eqn)
    controls = eqn.primitive.name in ("scan", "while", "cond", "shard_map", "pallas_call", "xla_pmap")
    return len(inside) == 1 and not controls and len(inside[0].jaxpr.invars) == len(eqn.invars)


def run(closed: Any, inputs: list, visit: Callable[[Eqn, list], None]) -> list:
    """Runs a program; `visit` sees each operation and its inputs, in loops those of each turn."""
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        xs = [x.val if isinstance(x, core().Literal) else values[x] for x in eqn.invars]
        visit(eqn, xs)
        values |= dict(zip(eqn.outvars, _step(eqn, xs, visit), strict=True))
    return [x.val if isinstance(x, core().Literal) else values[x] for x in jaxpr.outvars]


def _step(eqn: Eqn, xs: list, visit: Callable[[Eqn, list], None]) -> list:
    name, inside = eqn.primitive.name, closed_inside(eqn)
    if not inside:
        return bind(eqn, xs)
    if is_call(eqn):
        return run(inside[0], xs, visit)
    if name == "cond":
        branches = eqn.params["branches"]
        return run(branches[min(max(int(xs[0]), 0), len(branches) - 1)], xs[1:], visit)
    if name == "scan":
        # The first turn shows each operation once.
        const, carry, _ = scan_parts(eqn, xs)
        if eqn.params["length"]:
            at = eqn.params["length"] - 1 if eqn.params["reverse"] else 0
            run(eqn.params["jaxpr"], [*const, *carry, *scan_slice(eqn, xs, at)], visit)
        return bind(eqn, xs)
    if name == "while":
        n, m = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        if bool(core().jaxpr_as_fun(eqn.params["cond_jaxpr"])(*xs[:n], *xs[n + m :])[0]):
            run(eqn.params["body_jaxpr"], xs[n:], visit)
        return bind(eqn, xs)
    return bind(eqn, xs)


def scan_parts(eqn: Eqn, xs: list) -> tuple[list, list, list]:
    """Returns a scan's constants, first carry and inputs by step."""
    if "num_consts" in eqn.params:
        n, m = eqn.params["num_consts"], eqn.params["num_carry"]
    else:  # from JAX 0.12 on
        n, m = (len(list(part)) for part in eqn.params["ft_in"].unpack()[:2])
    return xs[:n], xs[n : n + m], xs[n + m :]


def scan_slice(eqn: Eqn, xs: list, i: Any) -> list:
    """Returns a scan's inputs of one step."""
    return [jnp.asarray(x)[i] for x in scan_parts(eqn, xs)[2]]
