"""Batch normalisation."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Shaped

from renga._core.checks import check_choice
from renga.nn._arrays import as_array, cast, floating, inverse_root, moments, spread, wide
from renga.nn._conv import get_channel_index
from renga.nn._module import Module, transparent
from renga.nn._moving import ExponentialMovingAverage
from renga.nn._params import get_parameter, running_init
from renga.nn.initializers import Initializer


class BatchNorm(Module):
    """Normalises each channel by its mean and variance over the batch.

        y = scale · (x - μ) / √(σ² + ε) + offset

    In training μ and σ² are those of the batch, and moving averages of them are kept; in evaluation
    they are the averages. `stats` says more exactly, call by call, what happens to the averages:

        "update": normalise by the batch, and move the averages (training).
        "freeze": normalise by the batch, and leave the averages as they are.
        "use":    normalise by the averages (evaluation).

    Parameters:
      scale: the channels' size, and 1 for the other axes, as in [1, 1, 1, C]; ones.
      offset: of the same shape; zeros.

    State:
      ~/mean_ema/counter, hidden, average: of μ, see `ExponentialMovingAverage`; 0 at first.
      ~/var_ema/counter, hidden, average: of σ²; the average is 1 at first.

    Args:
      create_scale: whether there is a scale.
      create_offset: whether there is an offset.
      decay_rate: of the moving averages.
      eps: ε.
      scale_init: initialiser of the scale.
      offset_init: initialiser of the offset.
      axis: the axes that are averaged over, a sequence; all but the channels if None.
      cross_replica_axis: name of a mapped axis (of vmap, shard_map, ...), or several, over which
        the statistics are averaged too. Where none is mapped, as often in `init`, it is skipped
        in `init` and an error in `apply`.
      cross_replica_axis_index_groups: groups of devices to average over, as in `lax.pmean`.
      data_format: where the channels are, see `nn.get_channel_index`.
      name: name of the module.

    Raises:
      ValueError: if a scale or offset is both created and passed, or an initialiser is given for
        one that is not created.

    Example:
      >>> from renga import nn
      >>> def f(x, is_training):
      ...     return nn.BatchNorm(True, True, decay_rate=0.9)(x, is_training)
      >>> f = nn.transform_with_state(f)
      >>> x = jnp.array([[1.0], [3.0]])
      >>> params, state = f.init(None, x, True)
      >>> y, state = f.apply(params, state, None, x, True)
      >>> y.ravel().round(3)
      Array([-1.,  1.], dtype=float32)
      >>> state["batch_norm/~/mean_ema"]["average"].round(3)
      Array([[2.]], dtype=float32)

    References:
      Ioffe & Szegedy, "Batch Normalization", 2015, algorithm 1.
    """

    def __init__(
        self,
        create_scale: bool,
        create_offset: bool,
        decay_rate: float | int,
        eps: float | int = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        axis: Sequence[int] | None = None,
        cross_replica_axis: str | Sequence[str] | None = None,
        cross_replica_axis_index_groups: Sequence[Sequence[int]] | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_inits("BatchNorm", create_scale, scale_init, create_offset, offset_init)
        if isinstance(axis, int | slice):
            raise TypeError(f"BatchNorm: axis must be a sequence of ints, got {axis!r}")
        if cross_replica_axis is None and cross_replica_axis_index_groups is not None:
            raise ValueError("BatchNorm: cross_replica_axis must be given with cross_replica_axis_index_groups")
        self.create_scale = create_scale
        self.create_offset = create_offset
        self.eps = eps
        self.scale_init = scale_init or jnp.ones
        self.offset_init = offset_init or jnp.zeros
        self.axis = axis
        self.cross_replica_axis = cross_replica_axis
        self.cross_replica_axis_index_groups = cross_replica_axis_index_groups
        self.channel_index = get_channel_index(data_format)
        # For `abstract_init`, which need not execute the layers before this one then.
        self.mean_ema = ExponentialMovingAverage(decay_rate, name="mean_ema", initial_average=jnp.zeros)
        self.var_ema = ExponentialMovingAverage(decay_rate, name="var_ema", initial_average=jnp.ones)

    def __call__(
        self,
        inputs: Shaped[ArrayLike, "..."],
        is_training: bool,
        test_local_stats: bool = False,
        scale: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        *,
        stats: str | None = None,
    ) -> Shaped[Array, "..."]:
        """Normalises.

        Args:
          inputs: [batch, ..., channels] or as `data_format` says.
          is_training: True is stats="update", False is stats="use".
          test_local_stats: with is_training=False, whether to normalise by the batch all the same
            (stats="freeze"). In `init` it makes no averages.
          scale: the scale, if the module does not create one.
          offset: the offset, if the module does not create one.
          stats: "update", "freeze" or "use", see above; takes precedence over both flags.

        Returns:
          An array of the shape of `inputs`.
        """
        inputs = floating(inputs)
        keep = stats is not None or not test_local_stats
        if stats is None:
            if is_training:
                stats = "update"
            else:
                stats = "freeze" if test_local_stats else "use"
        check_choice("BatchNorm", "stats", stats, ("update", "freeze", "use"))
        check_call("BatchNorm", self.create_scale, scale, self.create_offset, offset)
        channel = self.channel_index % max(inputs.ndim, 1)  # a scalar is its own batch
        if self.axis is not None:
            axes = {axis % inputs.ndim for axis in self.axis}
        else:
            axes = {axis for axis in range(inputs.ndim) if axis != channel}
        center, variance = self._statistics(inputs, sorted(axes), stats, keep)
        shape = [1 if i in axes else n for i, n in enumerate(inputs.shape)]
        factor = inverse_root(variance, self.eps)
        if self.create_scale:
            scale = get_parameter("scale", shape, inputs.dtype, self.scale_init)
        if self.create_offset:
            offset = get_parameter("offset", shape, inputs.dtype, self.offset_init)
        return affine(inputs, center, factor, scale, offset)

    @transparent
    def _statistics(self, inputs: Array, axes: Sequence[int], stats: str, keep: bool) -> tuple[Array, Array]:
        """Mean and variance to normalise by; moves the averages, and in `init` makes them if `keep`."""
        first = running_init() and keep and stats != "update"
        if stats == "use" and not first:
            average = self.mean_ema.average, self.var_ema.average
            return tuple(cast(as_array(a), wide(inputs.dtype)) for a in average)  # type: ignore[return-value]
        center, variance = moments(inputs, axes)
        if self.cross_replica_axis is not None:
            center, variance = self._across(center, variance)
        kept = [1 if i in axes else n for i, n in enumerate(inputs.shape)]
        center, variance = (lax.reshape(x, kept) for x in (center, variance))
        if stats == "update" or first:  # in init, so that the state is made
            self.mean_ema(center)
            self.var_ema(variance)
        return center, variance

    @transparent
    def _across(self, center: Array, variance: Array) -> tuple[Array, Array]:
        """Mean and variance over all replicas.

        The variance of the whole is the mean of the variances plus the variance of the means.
        """
        groups = {"axis_index_groups": self.cross_replica_axis_index_groups}
        try:
            total = lax.pmean(center, self.cross_replica_axis, **groups)
        except NameError:  # the axis is not mapped
            if running_init():
                return center, variance
            raise
        spread_out = variance + lax.square(center - total)
        return total, lax.pmean(spread_out, self.cross_replica_axis, **groups)


def check_inits(
    who: str,
    create_scale: bool,
    scale_init: Initializer | None,
    create_offset: bool,
    offset_init: Initializer | None,
) -> None:
    for name, create, init in (
        ("scale", create_scale, scale_init),
        ("offset", create_offset, offset_init),
    ):
        if not create and init is not None:
            raise ValueError(f"{who}: {name}_init was given, but create_{name} is False")


def check_call(who: str, create_scale: bool, scale: Any, create_offset: bool, offset: Any) -> None:
    for name, create, value in (
        ("scale", create_scale, scale),
        ("offset", create_offset, offset),
    ):
        if create and value is not None:
            raise ValueError(
                f"{who}: {name} is a parameter of the module (create_{name}=True): a call must not bring one"
            )


def affine(inputs: Array, center: Array | None, factor: Array, scale: Any, offset: Any) -> Array:
    """Scale · factor · (inputs - center) + offset in the dtype of the inputs; None leaves a step out.

    It is computed in the dtype of `factor`, float32 at least.
    """
    shape, dtype = inputs.shape, inputs.dtype
    inputs = cast(inputs, jnp.promote_types(dtype, factor.dtype))
    if scale is not None:
        scale = as_array(scale)
        scale = cast(scale, jnp.promote_types(scale.dtype, factor.dtype))
        if scale.shape == factor.shape:
            factor = lax.mul(scale, factor)  # of the channels only: one product less
        else:
            factor = spread(scale, shape) * spread(factor, shape)
    if center is not None:
        inputs = lax.sub(inputs, cast(spread(center, shape), inputs.dtype))
    out = lax.mul(inputs, cast(spread(factor, shape), inputs.dtype))
    if offset is not None:
        out = lax.add(out, spread(cast(as_array(offset), out.dtype), shape))
    return cast(out, dtype)
