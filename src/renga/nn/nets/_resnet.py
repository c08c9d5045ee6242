"""Residual networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from renga.nn._batch_norm import BatchNorm
from renga.nn._conv_fixed import Conv2D
from renga.nn._linear import Linear
from renga.nn._module import Module, transparent
from renga.nn._pool import max_pool

_Config = Mapping[str, Any] | None


class _Block(Module):
    """What both kinds of blocks share: their layers."""

    def __init__(
        self,
        channels: int,
        stride: int | Sequence[int],
        use_projection: bool,
        bn_config: Mapping[str, Any],
        bottleneck: bool,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.use_projection = use_projection
        bn_config = {"create_scale": True, "create_offset": True, "decay_rate": 0.999, **bn_config}
        self.bn_config = bn_config
        if use_projection:
            self.proj_conv = self._conv(channels, 1, stride, "shortcut_conv")
            self._make_projection_norm()
        inner = channels // 4 if bottleneck else channels
        plan = [(inner, 1, 1), (inner, 3, stride), (channels, 1, 1)]
        if not bottleneck:
            plan = [(channels, 3, stride), (channels, 3, 1)]
        self.layers = tuple(
            (
                self._conv(size, kernel, step, f"conv_{i}"),
                self._norm(i, last=i == len(plan) - 1),
            )
            for i, (size, kernel, step) in enumerate(plan)
        )

    @transparent
    def _conv(self, channels: int, kernel: int, stride: Any, name: str) -> Conv2D:
        return Conv2D(channels, kernel, stride=stride, with_bias=False, padding="SAME", name=name)

    @transparent
    def _norm(self, i: int, last: bool) -> BatchNorm:
        return BatchNorm(name=f"batchnorm_{i}", **self.bn_config)

    @transparent
    def _make_projection_norm(self) -> None:
        """Makes the shortcut's normalisation, if it has one."""


class _BlockV1(_Block):
    """x ↦ relu(shortcut(x) + F(x)): normalised after each convolution.

    Args:
      channels: output channels.
      stride: of the block.
      use_projection: whether the shortcut is a convolution.
      bn_config: arguments of `BatchNorm`.
      bottleneck: three convolutions with a quarter of the channels between, or two.
      name: name of the module.

    References:
      He et al., "Deep Residual Learning for Image Recognition", 2015, eq. 1 and figure 5.
    """

    @transparent
    def _norm(self, i: int, last: bool) -> BatchNorm:
        # The branch starts at zero: at first the block is its shortcut.
        scale_init = {"scale_init": jnp.zeros} if last else {}
        return BatchNorm(name=f"batchnorm_{i}", **scale_init, **self.bn_config)

    @transparent
    def _make_projection_norm(self) -> None:
        self.proj_batchnorm = BatchNorm(name="shortcut_batchnorm", **self.bn_config)

    def __call__(self, inputs: Any, is_training: bool, test_local_stats: bool, *, stats: str | None = None) -> Array:
        """Applies the block."""
        out = shortcut = inputs
        if self.use_projection:
            shortcut = self.proj_conv(shortcut)
            shortcut = self.proj_batchnorm(shortcut, is_training, test_local_stats, stats=stats)
        for i, (conv, norm) in enumerate(self.layers):
            out = norm(conv(out), is_training, test_local_stats, stats=stats)
            if i < len(self.layers) - 1:
                out = jax.nn.relu(out)
        return jax.nn.relu(out + shortcut)


class _BlockV2(_Block):
    """x ↦ shortcut(x) + F(x): normalised before each convolution.

    Args:
      channels: output channels.
      stride: of the block.
      use_projection: whether the shortcut is a convolution.
      bn_config: arguments of `BatchNorm`.
      bottleneck: three convolutions with a quarter of the channels between, or two.
      name: name of the module.

    References:
      He et al., "Identity Mappings in Deep Residual Networks", 2016, figure 1b.
    """

    def __call__(self, inputs: Any, is_training: bool, test_local_stats: bool, *, stats: str | None = None) -> Array:
        """Applies the block."""
        out = shortcut = inputs
        for i, (conv, norm) in enumerate(self.layers):
            out = jax.nn.relu(norm(out, is_training, test_local_stats, stats=stats))
            if i == 0 and self.use_projection:
                shortcut = self.proj_conv(out)
            out = conv(out)
        return out + shortcut


class _BlockGroup(Module):
    """Blocks of one resolution.

    Args:
      channels: output channels.
      num_blocks: number of blocks.
      stride: of the first block.
      bn_config: arguments of `BatchNorm`.
      resnet_v2: whether the blocks are of version 2.
      bottleneck: whether the blocks are bottlenecks.
      use_projection: whether the first block's shortcut is a convolution.
      name: name of the module.
    """

    def __init__(
        self,
        channels: int,
        num_blocks: int,
        stride: int | Sequence[int],
        bn_config: Mapping[str, Any],
        resnet_v2: bool,
        bottleneck: bool,
        use_projection: bool,
        name: str | None = None,
    ):
        super().__init__(name=name)
        block = _BlockV2 if resnet_v2 else _BlockV1
        self.blocks = tuple(
            block(
                channels=channels,
                stride=stride if i == 0 else 1,
                use_projection=i == 0 and use_projection,
                bottleneck=bottleneck,
                bn_config=bn_config,
                name=f"block_{i}",
            )
            for i in range(num_blocks)
        )

    def __call__(self, inputs: Any, is_training: bool, test_local_stats: bool, *, stats: str | None = None) -> Array:
        """Applies the blocks."""
        out = inputs
        for block in self.blocks:
            out = block(out, is_training, test_local_stats, stats=stats)
        return out


_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


class ResNet(Module):
    """A residual network for images.

    Parameters and state are those of `~/initial_conv`, `~/initial_batchnorm` (version 1),
    `~/block_group_{g}/~/block_{b}/~/conv_{i}`, `batchnorm_{i}`, `shortcut_conv` and
    `shortcut_batchnorm` (version 1), `~/final_batchnorm` (version 2), and `~/logits`.

    Args:
      blocks_per_group: number of blocks in each of four groups.
      num_classes: size of the output.
      bn_config: arguments of `BatchNorm`: decay_rate 0.9, eps 1e-5, scale and offset, if not said
        otherwise.
      resnet_v2: whether normalisation comes before the convolutions (version 2).
      bottleneck: blocks of three convolutions with fewer channels between, or of two.
      channels_per_group: output channels of the groups.
      use_projection: whether the first block of each group has a convolution for a shortcut.
      logits_config: arguments of the last `Linear`; w starts at zero if not said otherwise.
      name: name of the module.
      initial_conv_config: arguments of the first `Conv2D`: 64 channels, kernel 7, stride 2, no
        bias, if not said otherwise.
      strides: of the groups.

    Raises:
      ValueError: if a sequence does not have four entries.

    Example:
      >>> from renga import nn
      >>> def f(x):
      ...     net = nn.nets.ResNet(
      ...         [1, 1, 1, 1], 10, bottleneck=False, channels_per_group=[4, 4, 4, 4]
      ...     )
      ...     return net(x, is_training=True)
      >>> f, x = nn.transform_with_state(f), jnp.ones([1, 32, 32, 3])
      >>> params, state = jax.jit(f.init)(jax.random.key(0), x)
      >>> logits, state = jax.jit(f.apply)(params, state, None, x)
      >>> logits.shape
      (1, 10)

    References:
      He et al., "Deep Residual Learning for Image Recognition", 2015, table 1.
    """

    CONFIGS = _BLOCKS
    BlockGroup = _BlockGroup
    BlockV1 = _BlockV1
    BlockV2 = _BlockV2

    def __init__(
        self,
        blocks_per_group: Sequence[int],
        num_classes: int,
        bn_config: _Config = None,
        resnet_v2: bool = False,
        bottleneck: bool = True,
        channels_per_group: Sequence[int] = (256, 512, 1024, 2048),
        use_projection: Sequence[bool] = (True, True, True, True),
        logits_config: _Config = None,
        name: str | None = None,
        initial_conv_config: _Config = None,
        strides: Sequence[int] = (1, 2, 2, 2),
    ):
        super().__init__(name=name)
        for argument, given in (
            ("blocks_per_group", blocks_per_group),
            ("channels_per_group", channels_per_group),
            ("strides", strides),
        ):
            if len(given) != 4:
                raise ValueError(f"ResNet: {argument} must have 4 entries, got {list(given)}")
        self.resnet_v2 = resnet_v2
        bn_config = {
            "decay_rate": 0.9,
            "eps": 1e-5,
            "create_scale": True,
            "create_offset": True,
            **(bn_config or {}),
        }
        logits_config = {"w_init": jnp.zeros, "name": "logits", **(logits_config or {})}
        initial_conv_config = {
            "output_channels": 64,
            "kernel_shape": 7,
            "stride": 2,
            "with_bias": False,
            "padding": "SAME",
            "name": "initial_conv",
            **(initial_conv_config or {}),
        }
        self.initial_conv = Conv2D(**initial_conv_config)
        if not resnet_v2:
            self.initial_batchnorm = BatchNorm(name="initial_batchnorm", **bn_config)
        self.block_groups = tuple(
            _BlockGroup(
                channels=channels_per_group[i],
                num_blocks=blocks_per_group[i],
                stride=strides[i],
                bn_config=bn_config,
                resnet_v2=resnet_v2,
                bottleneck=bottleneck,
                use_projection=use_projection[i],
                name=f"block_group_{i}",
            )
            for i in range(4)
        )
        if resnet_v2:
            self.final_batchnorm = BatchNorm(name="final_batchnorm", **bn_config)
        self.logits = Linear(num_classes, **logits_config)

    def __call__(
        self,
        inputs: Float[ArrayLike, "batch height width channels"],
        is_training: bool,
        test_local_stats: bool = False,
        *,
        stats: str | None = None,
    ) -> Float[Array, "batch classes"]:
        """Classifies images.

        Args:
          inputs: images.
          is_training: as in `BatchNorm`.
          test_local_stats: as in `BatchNorm`.
          stats: as in `BatchNorm`.
        """
        out = self.initial_conv(inputs)
        if not self.resnet_v2:
            out = self.initial_batchnorm(out, is_training, test_local_stats, stats=stats)
            out = jax.nn.relu(out)
        out = max_pool(out, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for group in self.block_groups:
            out = group(out, is_training, test_local_stats, stats=stats)
        if self.resnet_v2:
            out = self.final_batchnorm(out, is_training, test_local_stats, stats=stats)
            out = jax.nn.relu(out)
        return self.logits(jnp.mean(out, axis=(1, 2)))
