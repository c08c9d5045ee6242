"""Whether samples follow a law: χ² for a finite set, Kolmogorov and Smirnov for a distribution function."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def _draw(function: str, samples: Any, key: Any) -> np.ndarray:
    """Returns samples as a flat array; a sampler is called with a fixed key."""
    if callable(samples):
        samples = samples(jax.random.key(key) if isinstance(key, int) else key)
    samples = np.asarray(samples).ravel()
    if samples.size == 0:
        raise ValueError(f"{function}: samples must not be empty")
    return samples


def _check_alpha(function: str, alpha: float | int) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"{function}: alpha must be in (0, 1), got {alpha}")


def assert_discrete_law(
    samples: Any,
    probs: Any,
    *,
    alpha: float | int = 1e-4,
    key: Any = 0,
) -> None:
    """Checks integers against their probabilities by Pearson's χ² test.

        X² = Σₖ (nₖ − N pₖ)² / (N pₖ)

    has about the χ² law with K − 1 degrees of freedom. Outcomes with fewer than 5 expected samples are pooled. With a
    fixed key the outcome of the test is fixed too: it does not fail by chance now and then. An outcome of probability 0
    fails at the first sample. Needs SciPy.

    Args:
      samples: integers in [0, K), or a function of a key that draws them.
      probs: pₖ for k in [0, K).
      alpha: the probability with which right samples would fail, over keys.
      key: a key or the seed of one, for a function.

    Raises:
      AssertionError: with X², its p-value and the outcome that is off most.
      ValueError: if `probs` is no distribution, or there are no samples.

    Example:
      >>> draw = lambda key: jax.random.categorical(key, jnp.log(jnp.array([0.2, 0.8])), shape=(1000,))
      >>> assert_discrete_law(draw, [0.2, 0.8])
      >>> assert_discrete_law(draw, [0.5, 0.5])
      Traceback (most recent call last):
      AssertionError: assert_discrete_law: χ² = 3..., p = ..., below alpha = 0.0001; outcome 0: expected 500, got ...
    """
    from scipy import stats

    name = "assert_discrete_law"
    _check_alpha(name, alpha)
    probs = np.asarray(probs, np.float64).ravel()
    if not (np.isfinite(probs).all() and (probs >= 0).all() and abs(probs.sum() - 1) < 1e-3):
        raise ValueError(f"{name}: probs must be at least 0 and sum to 1, got a sum of {probs.sum()}")
    samples = _draw(name, samples, key)
    if samples.dtype.kind == "f" and (samples == np.floor(samples)).all():
        samples = samples.astype(np.int64)
    if samples.dtype.kind not in "iub":
        raise ValueError(f"{name}: samples must be integers, got {samples.dtype}")
    samples = samples.astype(np.int64)
    outside = (samples < 0) | (samples >= probs.size)
    if outside.any():
        raise AssertionError(f"{name}: samples must be in [0, {probs.size}), got {samples[outside][0]}")
    counts, expected = np.bincount(samples, minlength=probs.size), samples.size * probs / probs.sum()
    impossible = (probs == 0) & (counts > 0)
    if impossible.any():
        k = int(np.argmax(impossible))
        raise AssertionError(f"{name}: outcome {k} has probability 0, and came {counts[k]} times")
    rare = expected < 5
    cells = [(float(counts[~rare][i]), float(e)) for i, e in enumerate(expected[~rare])]
    if rare.any() and expected[rare].sum() > 0:
        cells.append((float(counts[rare].sum()), float(expected[rare].sum())))
    if len(cells) < 2:
        return  # one outcome is certain
    statistic = sum((n - e) ** 2 / e for n, e in cells)
    p = float(stats.chi2.sf(statistic, len(cells) - 1))
    if not p >= alpha:
        off = (counts - expected) ** 2 / np.where(expected > 0, expected, np.inf)
        k = int(np.argmax(off))
        raise AssertionError(
            f"{name}: χ² = {statistic:.4g}, p = {p:.3g}, below alpha = {alpha:.3g}; outcome {k}: expected "
            f"{expected[k]:.6g}, got {counts[k]} of {samples.size}"
        )


def assert_continuous_law(
    samples: Any,
    cdf: Callable[[np.ndarray], Any],
    *,
    alpha: float | int = 1e-4,
    key: Any = 0,
) -> None:
    """Checks real numbers against a continuous distribution function by the test of Kolmogorov and Smirnov.

        D = supₓ |Fₙ(x) − F(x)|

    is compared with its exact law. With a fixed key the outcome is fixed too. Needs SciPy.

    Args:
      samples: numbers, or a function of a key that draws them.
      cdf: F, of an array of numbers.
      alpha: the probability with which right samples would fail, over keys.
      key: a key or the seed of one, for a function.

    Raises:
      AssertionError: with D, its p-value and where the distribution functions are D apart.
      ValueError: if there are no samples, or `cdf` leaves [0, 1].

    Example:
      >>> assert_continuous_law(lambda key: jax.random.normal(key, (500,)), jax.scipy.stats.norm.cdf)
      >>> assert_continuous_law(lambda key: jax.random.uniform(key, (500,)), lambda x: x**2)
      Traceback (most recent call last):
      AssertionError: assert_continuous_law: D = 0.2..., p = ..., below alpha = 0.0001; at x = 0...: F(x) = ...
    """
    from scipy import stats

    name = "assert_continuous_law"
    _check_alpha(name, alpha)
    x = np.sort(_draw(name, samples, key).astype(np.float64))
    if not np.isfinite(x).all():
        raise AssertionError(f"{name}: samples must be finite, got {x[~np.isfinite(x)][0]}")
    f = np.asarray(cdf(x), np.float64)
    if f.shape != x.shape or not ((f >= -1e-6) & (f <= 1 + 1e-6)).all():
        raise ValueError(f"{name}: cdf must give one number in [0, 1] for each sample, got {f!r:.100}")
    above, below = np.arange(1, x.size + 1) / x.size - f, f - np.arange(x.size) / x.size
    d = float(max(above.max(), below.max()))
    p = float(stats.kstwo.sf(d, x.size))
    if not p >= alpha:
        i = int(np.argmax(np.maximum(above, below)))
        raise AssertionError(
            f"{name}: D = {d:.4g}, p = {p:.3g}, below alpha = {alpha:.3g}; at x = {x[i]:.6g}: F(x) = {f[i]:.4g}, "
            f"share of samples {np.mean(x <= x[i]):.4g}"
        )
