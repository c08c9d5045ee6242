"""What families with a location and a scale share."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Num

from renga._core.ranges import check_range
from renga.dist._arrays import as_float, broadcast_shape
from renga.dist._distribution import Distribution
from renga.dist._special import standardise


class LocationScale(Distribution):
    """A family of z = (x − μ) / σ."""

    _loc: Array
    _scale: Array
    _params: ClassVar = {"_loc": 0, "_scale": 0}

    def __init__(self, loc: Num[ArrayLike, "..."], scale: Num[ArrayLike, "..."]) -> None:
        self._loc, self._scale = as_float(loc), as_float(scale)
        check_range(self.name, above=0, scale=self._scale)
        broadcast_shape(self.name, loc=self._loc, scale=self._scale)

    @property
    def loc(self) -> Array:
        """Locations μ."""
        return jnp.broadcast_to(self._loc, self.batch_shape)

    @property
    def scale(self) -> Array:
        """Scales σ."""
        return jnp.broadcast_to(self._scale, self.batch_shape)

    def _standardise(self, value):
        return standardise(value, self._loc, self._scale)

    def _mean(self):
        return self._loc
