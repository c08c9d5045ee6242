"""The residual networks of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

from renga.nn.nets._resnet import ResNet

_Config = Mapping[str, Any] | None


class _Published(ResNet):
    """A residual network of a published depth."""

    _depth: int

    def __init__(
        self,
        num_classes: int,
        bn_config: _Config = None,
        resnet_v2: bool = False,
        logits_config: _Config = None,
        name: str | None = None,
        initial_conv_config: _Config = None,
        strides: Sequence[int] = (1, 2, 2, 2),
    ):
        small = self._depth < 50
        super().__init__(
            self.CONFIGS[self._depth],
            num_classes,
            bn_config,
            resnet_v2,
            bottleneck=not small,
            channels_per_group=(64, 128, 256, 512) if small else (256, 512, 1024, 2048),
            use_projection=(not small, True, True, True),
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
        )


class ResNet18(_Published):
    """A residual network of 18 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet18(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net18/~/logits"]["w"].shape
      (512, 10)
    """

    _depth = 18


class ResNet34(_Published):
    """A residual network of 34 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet34(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net34/~/logits"]["w"].shape
      (512, 10)
    """

    _depth = 34


class ResNet50(_Published):
    """A residual network of 50 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet50(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net50/~/logits"]["w"].shape
      (2048, 10)
    """

    _depth = 50


class ResNet101(_Published):
    """A residual network of 101 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet101(10)(x, True))  # as ResNet50
      >>> nn.nets.ResNet.CONFIGS[101]
      (3, 4, 23, 3)
    """

    _depth = 101


class ResNet152(_Published):
    """A residual network of 152 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet152(10)(x, True))  # as ResNet50
      >>> nn.nets.ResNet.CONFIGS[152]
      (3, 8, 36, 3)
    """

    _depth = 152


class ResNet200(_Published):
    """A residual network of 200 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet200(10)(x, True))  # as ResNet50
      >>> nn.nets.ResNet.CONFIGS[200]
      (3, 24, 36, 3)
    """

    _depth = 200
