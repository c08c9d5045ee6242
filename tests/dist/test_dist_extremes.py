"""Values and slopes against mpmath where differences of large or of equal numbers would lose them."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from mpmath import mpf

from renga import dist


def slopes(function, parameters):
    """A function of numbers and its partial derivatives, with enough digits."""
    parameters = [mpf(float(x)) for x in parameters]
    with mpmath.workdps(120):
        partial = [0] * len(parameters)
        out = [function(*parameters)]
        for i, x in enumerate(parameters):
            if mpmath.isfinite(x):
                h = mpf(10) ** -40 * (abs(x) or 1)
                at = [function(*parameters[:i], x + k * h, *parameters[i + 1 :]) for k in (-1, 1)]
                partial[i] = (at[1] - at[0]) / (2 * h)
        return [float(v) for v in (*out, *partial)]


class Truncated:
    """A truncated Gaussian in mpmath."""

    def __init__(self, loc, scale, low, high):
        self.loc, self.scale = loc, scale
        self.a, self.b = (low - loc) / scale, (high - loc) / scale
        a, b = (self.a, self.b) if self.a > 0 else (-self.b, -self.a)
        tail = lambda z: mpmath.erfc(z / mpmath.sqrt(2)) / 2
        self.mass = tail(a) - tail(b)
        self.density = lambda z: mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi) / self.mass
        at = lambda z, k: z**k * self.density(z) if mpmath.isfinite(z) else mpf(0)
        self.first = at(self.a, 0) - at(self.b, 0)
        self.second = 1 + at(self.a, 1) - at(self.b, 1)

    def log_prob(self, x):
        return mpmath.log(self.density((x - self.loc) / self.scale) / self.scale)

    def log_cdf(self, x):
        tail = lambda z: mpmath.erfc(z / mpmath.sqrt(2)) / 2
        z = (x - self.loc) / self.scale
        part = tail(self.a) - tail(z) if self.a > 0 else tail(-z) - tail(-self.a)
        return mpmath.log(part / self.mass)

    def mean(self):
        return self.loc + self.scale * self.first

    def variance(self):
        return self.scale**2 * (self.second - self.first**2)

    def entropy(self):
        return mpmath.log(self.scale * self.mass * mpmath.sqrt(2 * mpmath.pi)) + self.second / 2


# A value, μ, σ, and the ends.
TRUNCATED = np.array([
    (2e-4, -1e4, 1, 0, 1), (1 - 3e-4, 1e4, 1, 0, 1), (1.25, 0, 1e6, 1, 2), (1.25, 1.5, 1e6, 1, 2),
    (1.75, 1e7, 1e6, 1, 2), (0.5, -1e4, 1, 0, 5e-1), (2e-4, -1e4, 1, 0, np.inf), (-0.01, 300, 1, -np.inf, 0),
    (1.0, 0, 1, -1, 2), (0.3, -7.9, 1, 0.2, 5), (0.4, 0, 1, 0.3, 1), (1.3, 0, 1, 1, np.inf), (0.4, 0, 1, -np.inf, 3),
    (3e-13, 0, 1, 0, 1e-12), (5.5, 0, 1, 5, 6), (-1.5e-3, 1e-3, 1, -2e-3, -1e-3), (0.1, 0, 1, -0.6, 0.7),
    (10.1, 0, 1, 10.0, 11), (-40.001, 0, 1, -np.inf, -40), (0.2, 0, 1, -1, 2), (1e4 + 1e-3, 0, 1, 1e4, np.inf),
    (5e-4, 0, 1, 0, 1e-3), (3, 1, 2, -np.inf, np.inf), (0.5, 0, 0.1, -2, 1), (-3, 0, 1, -4, 0.5), (-5.5, 0, 1, -6, -5),
    (1.0, 0.5, 2, -1, 3), (7, 0, 1, 6, np.inf),
], np.float32)  # fmt: skip


def test_truncated_gaussians_are_right_far_from_and_wider_than_their_interval():
    x, *parameters = jnp.asarray(TRUNCATED.T)

    def each(x, *parameters):
        p = dist.TruncatedNormal(*parameters)
        return jnp.stack([p.log_prob(x), p.log_cdf(x), p.entropy(), p.mean(), p.variance()])

    def all_of(*arguments):
        got, pullback = jax.vjp(each, *arguments)
        one_each = jnp.broadcast_to(jnp.eye(len(got))[..., None], (len(got), *got.shape))
        return got, jnp.stack(jax.vmap(pullback)(one_each), 1)

    got, gradients = jax.jit(all_of)(x, *parameters)
    orders = {"log_prob": 0, "log_cdf": 0, "entropy": 0, "mean": 1, "variance": 2}
    for i, row in enumerate(TRUNCATED):
        scale = float(row[2])
        with mpmath.workdps(120):
            p = Truncated(*(mpf(float(v)) for v in row[1:]))
            mean, deviation = float(p.mean()), float(mpmath.sqrt(p.variance()))
        # What slopes in x, μ, σ and the ends are compared with where they vanish.
        of_loc = deviation / scale**2
        units = 1 / deviation, of_loc, of_loc * max(deviation, abs(mean - float(row[1]))) / scale, *[1 / deviation] * 2
        for n, (name, order) in enumerate(orders.items()):
            takes = name.startswith("log")
            reference = lambda x, *p, name=name, takes=takes: getattr(Truncated(*p), name)(*[x] * takes)
            value, *expected = slopes(reference, row)
            message = f"{name} {row}"
            np.testing.assert_allclose(got[n][i], value, rtol=5e-6, atol=3e-6 * deviation**order, err_msg=message)
            for gradient, slope, unit in zip(gradients[n], expected, units, strict=True):
                atol = 1e-5 * unit * deviation**order + 1e-37
                np.testing.assert_allclose(gradient[i], slope, rtol=1e-4, atol=atol, err_msg=message)


def test_divergences_and_medians_of_truncated_gaussians_are_right_at_extremes():
    # The same interval and a neighbour, another interval, another parameter, and an interval that is not inside.
    rows = np.array([
        (-1e4, 1, 0, 1, -1.0001e4, 1, 0, 1), (0, 1e6, 1, 2, 0, 1.5e6, 1, 2), (0, 1, -1, 2, 1e-3, 1, -1, 2),
        (-1e4, 1, 0, 1, -9e3, 2, 0, 3), (1e4, 1, 0, 1, -1e4, 1, 0, 1), (0, 1e4, 1, 3, 2, 1, 0, 3),
        (0, 1, 1e4, np.inf, 0, 1.001, 1e4, np.inf), (0, 1, 1, 2, 0, 1, 0, 4), (0, 1, -1, 2, 0.5, 1.5, -1, 2),
        (0, 1, 5, np.inf, 0.5, 1.5, 5, np.inf), (0, 1, -np.inf, -4, 0.5, 1.5, -np.inf, -4),
        (0, 1, -np.inf, np.inf, 0.5, 1.5, -np.inf, np.inf), (0, 1, -1, 2, 0, 1, 0, np.inf),
    ], np.float32)  # fmt: skip

    def divergence(loc, scale, low, high, other_loc, other_scale, other_low, other_high):
        p, q = Truncated(loc, scale, low, high), Truncated(other_loc, other_scale, other_low, other_high)
        square = (p.variance() + (p.mean() - other_loc) ** 2) / other_scale**2
        return mpmath.log(other_scale * q.mass * mpmath.sqrt(2 * mpmath.pi)) + square / 2 - p.entropy()

    def with_slopes(function, *parameters):
        got, pullback = jax.vjp(function, *parameters)
        return got, jnp.stack(pullback(jnp.ones_like(got)))

    p, run = lambda *x: dist.TruncatedNormal(*x), jax.jit(with_slopes, static_argnums=0)
    kl, slopes_of_kl = run(lambda *x: p(*x[:4]).kl_divergence(p(*x[4:])), *rows.T)
    median, slopes_of_median = run(lambda *x: p(*x).median(), *rows.T[:4])
    assert kl[-1] == np.inf
    for i, row in enumerate(rows[:-1]):
        value, *expected = slopes(divergence, row)
        np.testing.assert_allclose(kl[i], value, rtol=3e-4 if i < 8 else 1e-4, atol=1e-13, err_msg=str(row))
        of_kl, expected = (np.reshape(x, (2, 2, 2)) for x in (slopes_of_kl[:, i], expected))
        # Slopes that vanish are compared with that in another parameter of their kind.
        atol = 1e-5 * np.abs(expected).max(0) + 1e-11
        atol[1] = atol[1].max()
        error = np.abs(of_kl - expected)
        assert (error <= atol + 1e-3 * np.abs(expected)).all(), (row, of_kl, expected)
        if row[2] < 100:  # else it is the next number
            log, x, *partial = slopes(lambda x, *p: Truncated(*p).log_cdf(x), (median[i], *row[:4]))
            np.testing.assert_allclose(log, np.log(0.5), rtol=5e-5, err_msg=str(row))
            of_median = -np.array(partial) / x
            np.testing.assert_allclose(slopes_of_median[:, i], of_median, rtol=2e-4, atol=1e-22, err_msg=str(row))


def test_slopes_of_student_t_in_its_degrees_of_freedom_do_not_cancel():
    rows = np.array(
        [(x, ν) for ν in (0.5, 3, 7.5, 20, 300, 1e4, 1e7, 1e12) for x in (0.3, 30, 1e7)], np.float32
    )  # fmt: skip

    def log_prob(x, ν):
        h = ν / 2
        norm = mpmath.loggamma(h + 0.5) - mpmath.loggamma(h) - mpmath.log(ν * mpmath.pi) / 2
        return norm - (h + 0.5) * mpmath.log1p(x * x / ν)

    def entropy(ν):
        h = ν / 2
        rise = mpmath.digamma(h + 0.5) - mpmath.digamma(h)
        return (h + 0.5) * rise + mpmath.log(ν) / 2 + mpmath.log(mpmath.beta(h, mpf(1) / 2))

    of = lambda f, n: jax.vmap(jax.value_and_grad(f, n))
    log, partial = jax.jit(of(lambda x, ν: dist.StudentT(ν).log_prob(x), (0, 1)))(*rows.T)
    expected = np.array([slopes(log_prob, row) for row in rows])
    np.testing.assert_allclose(np.stack([log, *partial], 1), expected, rtol=6e-5)
    ν = rows[::3, 1]
    got = jax.jit(of(lambda ν: dist.StudentT(ν).entropy(), 0))(ν)
    np.testing.assert_allclose(np.stack(got, 1), [slopes(entropy, [x]) for x in ν], rtol=2e-5)


def test_quantised_gaussians_are_right_where_a_step_is_short():
    rows = np.array([
        (5, 0, 1e6), (3e6, 0, 1e6), (2e7, 0, 1e6), (-4e7, 0, 1e6), (40, 0, 1), (-40, 0.3, 1), (1e3, 0, 100),
        (100, 100, 3), (3e4, 0, 1e3), (1e8, 0, 1e10),
    ], np.float32)  # fmt: skip

    def log_prob(k, loc, scale):
        a, b = (k - 1 - loc) / scale, (k - loc) / scale
        tail = lambda z: mpmath.erfc(z / mpmath.sqrt(2)) / 2
        return mpmath.log(tail(a) - tail(b) if a > 0 else tail(-b) - tail(-a))

    def total(loc, scale, k):
        each = dist.Quantized(dist.Normal(loc, scale)).log_prob(k)
        return each.sum(), each

    k, loc, scale = map(jnp.asarray, rows.T)
    gradients, got = jax.jit(jax.grad(total, (0, 1), has_aux=True))(loc, scale, k)
    expected = np.array([slopes(log_prob, row) for row in rows])
    np.testing.assert_allclose(got, expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(np.stack(gradients, 1), expected[:, 2:], rtol=2e-4)
    # Where the density jumps within a step, the difference of the distribution functions is right.
    parts = dist.Uniform(jnp.array([0.0, 500.5]), jnp.array([500.5, 3000.0]))
    p = dist.Quantized(dist.MixtureSameFamily(dist.Categorical(jnp.zeros(2)), parts))
    np.testing.assert_allclose(p.prob(501.0), 0.25 / 500.5 + 0.25 / 2499.5, rtol=1e-3)


def test_divergences_of_neighbouring_categories_do_not_cancel():
    p = np.array([0.2, 0.3, 0.4999, 1e-4, 0.0], np.float32)
    q = np.array([0.2001, 0.2999, 0.4999, 1e-4, 0.0], np.float32)
    a, b = (x.astype(float) / x.astype(float).sum() for x in (p, q))
    some = a > 0
    expected = sum(float(mpf(x) * mpmath.log(mpf(x) / mpf(y))) for x, y in zip(a[some], b[some], strict=True))

    def of_probs(p, q):
        return dist.Categorical(probs=p).kl_divergence(dist.Categorical(probs=q))

    got, gradient = jax.value_and_grad(of_probs, 1)(jnp.asarray(p), jnp.asarray(q))
    np.testing.assert_allclose(got, expected, rtol=3e-3)
    np.testing.assert_allclose(gradient[:3], 1 - a[:3] / b[:3], atol=2e-7)
    logits = lambda x: dist.Categorical(jnp.log(x))
    np.testing.assert_allclose(logits(p).kl_divergence(logits(q)), expected, rtol=3e-3)
    n = dist.Multinomial(10, probs=p).kl_divergence(dist.Multinomial(10, probs=q))
    np.testing.assert_allclose(n, 10 * expected, rtol=3e-3)
    x, y = np.float32([0.3, 0.3001])
    x_, y_ = mpf(float(x)), mpf(float(y))
    of_coins = float(x_ * mpmath.log(x_ / y_) + (1 - x_) * mpmath.log((1 - x_) / (1 - y_)))
    coins = dist.Bernoulli(probs=x).kl_divergence(dist.Bernoulli(probs=y))
    np.testing.assert_allclose(coins, of_coins, rtol=3e-3)
    assert dist.Categorical(probs=p).kl_divergence(dist.Categorical(probs=jnp.array([1.0, 0, 1, 1, 1]))) == jnp.inf
