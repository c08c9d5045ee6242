"""A linear layer with noise in its weights, which is learned: exploration that goes by the state."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from renga import nn


class NoisyLinear(nn.Module):
    """y = (W + Σ ∘ ε_out ε_inᵀ) x + b + σ ∘ ε_out, with ε = sign(z) √|z| and z ~ N(0, 1).

    The noise has a factor for each input and one for each output, so that each example of a batch can have its own at
    the price of a second product: Σ ∘ ε_out ε_inᵀ x = ε_out ∘ Σ (ε_in ∘ x). Without a key there is none.

    Parameters, I inputs and O outputs: `w` [I, O] and `b` [O], drawn evenly from ±1/√I; `w_scale` [I, O] and `b_scale`
    [O], σ₀/√I.

    Args:
      output_size: O.
      scale: σ₀.
      name: name of the module.

    References:
      Fortunato et al., "Noisy Networks for Exploration", 2018, eq. 10 and 11, and section 3.2 for what they begin with.
    """

    def __init__(self, output_size: int, scale: float, name: str | None = None):
        super().__init__(name=name)
        self.output_size = output_size
        self.scale = scale

    def __call__(self, x: Float[Array, "B *K I"], key: PRNGKeyArray | None = None) -> Float[Array, "B *K O"]:
        """Returns y, with noise drawn by the key for each of B examples, the same over what lies between."""
        size = x.shape[-1]
        even = nn.initializers.RandomUniform(-(size**-0.5), size**-0.5)
        scale = nn.initializers.Constant(self.scale * size**-0.5)
        parameter = lambda name, shape, init: nn.get_parameter(name, shape, x.dtype, init=init)
        w = parameter("w", (size, self.output_size), even)
        b = parameter("b", (self.output_size,), even)
        w_scale = parameter("w_scale", (size, self.output_size), scale)
        b_scale = parameter("b_scale", (self.output_size,), scale)
        affine = lambda x, w, b: jnp.matmul(x, w) + jnp.broadcast_to(b, (*x.shape[:-1], self.output_size))
        if key is None:
            return affine(x, w, b)
        z = jax.random.normal(key, (len(x), *[1] * (x.ndim - 2), size + self.output_size), x.dtype)
        noise = jnp.sign(z) * jnp.sqrt(jnp.abs(z))
        return affine(x, w, b) + noise[..., size:] * affine(noise[..., :size] * x, w_scale, b_scale)
