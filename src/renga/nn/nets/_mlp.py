"""The multi-layer perceptron."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.checks import check_callable
from renga.nn._basic import dropout
from renga.nn._linear import Linear
from renga.nn._module import Module
from renga.nn._rng import PRNGSequence
from renga.nn.initializers import Initializer


class MLP(Module):
    """Linear layers with an activation between them.

    Parameters:
      ~/linear_{i}/w: [size of the layer before, output_sizes[i]].
      ~/linear_{i}/b: [output_sizes[i]]; if `with_bias`.

    Args:
      output_sizes: sizes of the layers.
      w_init: initialiser of every w.
      b_init: initialiser of every b.
      with_bias: whether the layers have biases.
      activation: applied after each layer but the last.
      activate_final: whether it is applied after the last too.
      name: name of the module.

    Raises:
      ValueError: if `b_init` is given without biases.

    Example:
      >>> from renga import nn
      >>> f = nn.transform(lambda x: nn.nets.MLP([16, 4])(x))
      >>> params = f.init(jax.random.key(0), jnp.ones([2, 8]))
      >>> list(params)
      ['mlp/~/linear_0', 'mlp/~/linear_1']
      >>> f.apply(params, None, jnp.ones([2, 8])).shape
      (2, 4)
    """

    def __init__(
        self,
        output_sizes: Iterable[int],
        w_init: Initializer | None = None,
        b_init: Initializer | None = None,
        with_bias: bool = True,
        activation: Callable[..., Any] = jax.nn.relu,
        activate_final: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_callable("MLP", activation=activation)
        if not with_bias and b_init is not None:
            raise ValueError("MLP: b_init was given, but with_bias is False")
        self.output_sizes = tuple(output_sizes)
        self.output_size = self.output_sizes[-1] if self.output_sizes else None
        self.with_bias = with_bias
        self.w_init = w_init
        self.b_init = b_init
        self.activation = activation
        self.activate_final = activate_final
        self.layers = tuple(
            Linear(output_size=size, with_bias=with_bias, w_init=w_init, b_init=b_init, name=f"linear_{i}")
            for i, size in enumerate(self.output_sizes)
        )

    def __call__(
        self,
        inputs: Shaped[ArrayLike, "..."],
        dropout_rate: Any = None,
        rng: Any = None,
    ) -> Shaped[Array, "..."]:
        """Applies the layers.

        Args:
          inputs: [..., size].
          dropout_rate: of `nn.dropout`, which then follows every activation.
          rng: a random key, with `dropout_rate` only.

        Returns:
          [..., output_sizes[-1]].

        Raises:
          ValueError: if only one of `dropout_rate` and `rng` is given.
        """
        if (dropout_rate is None) != (rng is None):
            raise ValueError(
                f"MLP: dropout_rate and rng must be given together, got dropout_rate={dropout_rate}, rng={rng}"
            )
        keys = None if rng is None else PRNGSequence(rng)
        out = inputs
        for i, layer in enumerate(self.layers):
            out = layer(out)
            if i < len(self.layers) - 1 or self.activate_final:
                if dropout_rate is not None and keys is not None:
                    out = dropout(next(keys), dropout_rate, out)
                out = self.activation(out)
        # pyrefly: ignore[bad-return]
        return out

    def reverse(self, activate_final: bool | None = None, name: str | None = None) -> "MLP":
        """Returns an MLP with the layers in reverse order, as in an autoencoder.

        It has parameters of its own. This one must have been called: it is then known what the
        last layer's size is.

        Args:
          activate_final: as in `MLP`; this one's if None.
          name: name of the new module, "{name}_reversed" if None.
        """
        sizes = [layer.input_size for layer in reversed(self.layers)]
        if None in sizes:
            raise ValueError("MLP.reverse: the MLP must be called first")
        return MLP(
            output_sizes=[size for size in sizes if size is not None],
            w_init=self.w_init,
            b_init=self.b_init,
            with_bias=self.with_bias,
            activation=self.activation,
            activate_final=self.activate_final if activate_final is None else activate_final,
            name=f"{self.name}_reversed" if name is None else name,
        )
