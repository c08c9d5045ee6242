"""The residual networks of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

from renga.nn.nets._resnet import ResNet

_Config = Mapping[str, Any] | None
_BASIC = {
    "bottleneck": False,
    "channels_per_group": (64, 128, 256, 512),
    "use_projection": (False, True, True, True),
}


class ResNet18(ResNet):
    """A residual network of 18 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet18(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net18/~/logits"]["w"].shape
      (512, 10)
    """

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
        super().__init__(
            ResNet.CONFIGS[18],
            num_classes,
            bn_config,
            resnet_v2,
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
            **_BASIC,
        )


class ResNet34(ResNet):
    """A residual network of 34 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet34(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net34/~/logits"]["w"].shape
      (512, 10)
    """

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
        super().__init__(
            ResNet.CONFIGS[34],
            num_classes,
            bn_config,
            resnet_v2,
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
            **_BASIC,
        )


class ResNet50(ResNet):
    """A residual network of 50 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet50(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net50/~/logits"]["w"].shape
      (2048, 10)
    """

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
        super().__init__(
            ResNet.CONFIGS[50],
            num_classes,
            bn_config,
            resnet_v2,
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
        )


class ResNet101(ResNet):
    """A residual network of 101 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet101(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net101/~/logits"]["w"].shape
      (2048, 10)
    """

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
        super().__init__(
            ResNet.CONFIGS[101],
            num_classes,
            bn_config,
            resnet_v2,
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
        )


class ResNet152(ResNet):
    """A residual network of 152 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet152(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net152/~/logits"]["w"].shape
      (2048, 10)
    """

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
        super().__init__(
            ResNet.CONFIGS[152],
            num_classes,
            bn_config,
            resnet_v2,
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
        )


class ResNet200(ResNet):
    """A residual network of 200 layers. See `ResNet` for parameters and arguments.

    Example:
      >>> from renga import nn
      >>> f = nn.transform_with_state(lambda x: nn.nets.ResNet200(10)(x, True))
      >>> key, x = jax.random.key(0), jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
      >>> params, state = jax.eval_shape(f.init, key, x)
      >>> params["res_net200/~/logits"]["w"].shape
      (2048, 10)
    """

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
        super().__init__(
            ResNet.CONFIGS[200],
            num_classes,
            bn_config,
            resnet_v2,
            logits_config=logits_config,
            name=name,
            initial_conv_config=initial_conv_config,
            strides=strides,
        )
