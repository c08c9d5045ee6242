"""Finds out which JAX transformation a side effect happens in, to name it in the error."""

import sys

# The function of JAX on the Python stack → what the user wrote, and what to write instead.
_TRANSFORMATIONS = {
    "vmap_f": ("jax.vmap", "nn.vmap"),
    "grad_f": ("jax.grad", "nn.grad"),
    "grad_f_aux": ("jax.grad", "nn.grad"),
    "value_and_grad_f": ("jax.value_and_grad", "nn.value_and_grad"),
    "remat_f": ("jax.checkpoint", "nn.remat"),
    "fun_remat": ("jax.checkpoint", "nn.remat"),
    "scan": ("jax.lax.scan", "nn.scan"),
    "map": ("jax.lax.map", "nn.map"),
    "associative_scan": ("jax.lax.associative_scan", "nn.scan"),
    "cond": ("jax.lax.cond", "nn.cond"),
    "_cond": ("jax.lax.cond", "nn.cond"),
    "switch": ("jax.lax.switch", "nn.switch"),
    "while_loop": ("jax.lax.while_loop", "nn.while_loop"),
    "fori_loop": ("jax.lax.fori_loop", "nn.fori_loop"),
    "eval_shape": ("jax.eval_shape", "nn.eval_shape"),
    "make_jaxpr_f": ("jax.make_jaxpr", None),
    "jvp": ("jax.jvp", None),
    "_jvp": ("jax.jvp", None),
    "vjp": ("jax.vjp", None),
    "_vjp": ("jax.vjp", None),
    "linearize": ("jax.linearize", None),
    "cache_miss": ("jax.jit", None),
    "jacfun": ("jax.jacobian", None),
    "shard_map": ("jax.shard_map", None),
}


def transformation() -> tuple[str, str | None]:
    """Names the innermost JAX transformation on the Python stack, and its twin in `renga.nn`."""
    found: tuple[str, str | None] | None = None
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("jax."):
            # A scan is a jit inside: the outermost name before the user's code counts.
            found = _TRANSFORMATIONS.get(frame.f_code.co_name, found)
        elif found is not None and not module.startswith("contextlib"):
            return found
        frame = frame.f_back
    return found or ("a JAX transformation", None)


def message(action: str, reason: str = "") -> str:
    """The error for a side effect inside a JAX transformation; by default, its value leaks."""
    name, twin = transformation()
    reason = reason or f"the value would be a tracer that leaks out of {name}"
    if twin:
        advice = f"Write {twin} in place of {name}: it carries parameters, state and keys through"
    else:
        advice = (
            f"Do it before {name} and pass the value in, or apply {name} to the "
            "transformed function's init and apply from outside"
        )
    return f"{action} inside {name}, in a transformed function: {reason}. {advice}"
