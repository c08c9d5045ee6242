"""Options of JAX, which its types do not list."""

from typing import Any

import jax


def jax_option(name: str) -> Any:
    """The value of an option of JAX here and now, by a name such as "jax_disable_jit"."""
    return getattr(jax.config, name)
