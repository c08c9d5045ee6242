"""`renga.dist` in the conformance matrix."""

import jax
import jax.numpy as jnp

from renga import dist

from . import Case


def _everything(build, value):
    """One function that calls what a distribution offers: the matrix compiles it once."""

    def fn(key, value, *params):
        p = build(*params)
        out = [p.log_prob(value), p.prob(value), p.cdf(value), p.log_cdf(value), p.entropy(), p.kl_divergence(p)]
        out += [p.mode(), p.sample((2,), seed=key)]
        return out + ([] if isinstance(p, dist.Categorical) else [p.mean(), p.variance()])

    return fn


def _gaussian():
    return jax.random.key(0), jnp.array([0.1, 0.5]), jnp.array([0.3, -1.0]), jnp.array([0.5, 2.0])


def _estimator(estimator):
    def fn(key, mean, std):
        return estimator(lambda x: jnp.sin(x).sum(), (mean, std), dist.Normal, key, 2)

    return Case(fn, lambda: (jax.random.key(0), jnp.array([0.3, -1.0]), jnp.array([0.5, 2.0])), rtol=1e-4, atol=1e-5)


def _control_variates(key, mean, std):
    h = dist.delta_method(lambda x: jnp.sin(x).sum(), dist.Normal(mean, std))
    return dist.control_variates_jacobians(
        lambda x: jnp.sin(x).sum(), h, dist.score_function_jacobians, (mean, std), dist.Normal, key, 2
    )


CASES = {
    "Normal": Case(_everything(dist.Normal, 0), _gaussian),
    "MultivariateNormalDiag": Case(_everything(dist.MultivariateNormalDiag, 0), _gaussian),
    "Bernoulli": Case(
        _everything(dist.Bernoulli, 0), lambda: (jax.random.key(0), jnp.array([0, 1]), jnp.array([0.3, -1.0]))
    ),
    "Categorical": Case(
        _everything(dist.Categorical, 0), lambda: (jax.random.key(0), jnp.int32(1), jnp.array([0.3, -1.0, 0.1]))
    ),
    "pathwise_jacobians": _estimator(dist.pathwise_jacobians),
    "score_function_jacobians": _estimator(dist.score_function_jacobians),
    "measure_valued_jacobians": Case(
        lambda key, l: dist.measure_valued_jacobians(lambda x: jnp.sin(x).sum(), (l,), dist.Bernoulli, key, 2),
        lambda: (jax.random.key(0), jnp.array([0.3, -1.0])),
    ),
    "control_variates_jacobians": Case(
        _control_variates, _estimator(dist.pathwise_jacobians).args, rtol=1e-4, atol=1e-4
    ),
    "delta_method": Case(
        lambda x, mean: dist.delta_method(lambda x: jnp.sin(x).sum(), dist.Normal(mean, jnp.ones(2))).function(x),
        lambda: (jnp.array([0.1, 0.5]), jnp.array([0.3, -1.0])),
    ),
    "baseline": Case(lambda b: dist.baseline(b).function(jnp.zeros(2)), lambda: (jnp.float32(2.0),)),
}

EXEMPT = {
    "Distribution": "the base class: what it does is tested through its subclasses",
    "ControlVariate": "a pair of functions, not a function of arrays",
}
