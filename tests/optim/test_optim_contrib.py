"""The optimisers of `contrib`: what their states hold, in which dtype, and what their updates refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from renga import optim

c = optim.contrib
X0 = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.3, -0.7])}


def loss(x):
    return sum(jnp.sum((leaf - 0.5) ** 2) for leaf in jax.tree.leaves(x))


# Each with the loss that it needs, at rates that move visibly in a few steps.
OPTIMISERS = {
    "acprop": c.acprop(0.01),
    "ademamix": c.ademamix(0.05),
    "adopt": c.adopt(0.05),
    "cocob": c.cocob(alpha=10.0),
    "dadapt_adamw": c.dadapt_adamw(estim_lr0=0.05),
    "dog": c.dog(init_step=("distance", 0.1)),
    "dowg": c.dowg(init_estim_sq_dist=0.1),
    "galore": c.galore(0.05, rank=1),
    "madgrad": c.madgrad(0.05),
    "mechanize": c.mechanize(optim.sgd(0.1), s_init=0.1),
    "momo": c.momo(),
    "momo_adam": c.momo_adam(0.05),
    "prodigy": c.prodigy(estim_lr0=0.05),
    "simplified_ademamix": c.simplified_ademamix(0.001),
    "sophia": c.sophia(0.05, gamma=0.5),
    "split_real_and_imaginary": c.split_real_and_imaginary(optim.adam(0.05)),
}


def train(tx, x, steps=3):
    def step(carry, _):
        x, state = carry
        u, state = tx.update(jax.grad(loss)(x), state, x, value=loss(x), obj_fn=loss)
        return (optim.apply_updates(x, u), state), None

    return jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), None, length=steps)[0])(x)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_sixteen_bits_follow_the_steps_in_float32(name):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), X0)
    ours, _ = train(OPTIMISERS[name], half)
    want, _ = train(OPTIMISERS[name], X0)
    for key, x in want.items():
        assert ours[key].dtype == jnp.bfloat16
        # Every step rounds the parameters to 8 bits.
        np.testing.assert_allclose(ours[key].astype(jnp.float32), x, rtol=0.02, atol=0.03)


def buffers(tree):
    return [
        x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    ]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_no_two_parts_of_a_state_share_a_buffer_so_that_it_can_be_donated_with_the_parameters(name):
    tx = OPTIMISERS[name]
    x = jax.tree.map(jnp.copy, X0)
    state = tx.init(x)
    for _ in range(2):
        held = buffers((x, state))
        assert len(set(held)) == len(held)
        u, state = tx.update(jax.grad(loss)(x), state, x, value=loss(x), obj_fn=loss)
        x = optim.apply_updates(x, u)


def test_parts_of_a_state_that_are_like_the_parameters_lie_where_the_parameters_lie():
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, P("d"))
    x = {"b": jax.device_put(jnp.arange(4.0), sharding)}
    for name, tx in OPTIMISERS.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tx.init(x)):
            if leaf.shape == (4,):
                assert leaf.sharding == sharding, f"{name} {jax.tree_util.keystr(path)}"


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_update_refuses_a_tree_that_its_state_has_not_seen(name):
    tx = OPTIMISERS[name]
    state = tx.init(X0)
    g = X0 | {"c": X0["b"]}
    with pytest.raises(ValueError, match="only in the updates: c"):
        tx.update(g, state, g, value=1.0, obj_fn=loss)


SUMS = {"cocob": ("subgradients", "cumulative_gradients"), "madgrad": ("grad_sum_sq", "s")}


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_sixteen_bit_gradients_go_on_growing(name):
    """In bfloat16, 256 + 1 = 256."""
    tx, x = OPTIMISERS[name], jnp.ones(2, jnp.bfloat16)
    state = tx.init(x)
    state = jax.lax.fori_loop(0, 600, lambda _, s: tx.update(x, s, x)[1], state)
    assert optim.tree.get(state, SUMS[name][0]).dtype == jnp.float32
    if name == "cocob":
        np.testing.assert_array_equal(optim.tree.get(state, "subgradients"), 600.0)


def test_galore_keeps_moments_of_low_rank_and_reshapes_as_told():
    params = {"w": jnp.ones((6, 4)), "conv": jnp.ones((2, 3, 5)), "b": jnp.ones(3)}
    numbers = {"w": c.GaLoreDimensionNumbers(), "conv": c.GaLoreDimensionNumbers((0, 1), 2), "b": None}
    tx = c.scale_by_galore(rank=2, weight_dimension_numbers=numbers)
    shapes = jax.tree.map(jnp.shape, tx.init(params), is_leaf=lambda x: isinstance(x, jax.Array))
    assert shapes.base_optimizer_state.mu == {"w": (2, 4), "conv": (2, 5), "b": (3,)}
    assert shapes.projector == {"w": (6, 2), "conv": (6, 2), "b": (0, 0)}
    # With the full rank, nothing is lost.
    g = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)
    tx = c.scale_by_galore(rank=9, base_optimizer=optim.identity(), weight_dimension_numbers=numbers)
    u, _ = tx.update(g, tx.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), u, g)
    with pytest.raises(
        ValueError, match=r"must name each axis once, got \(0, 1\) for a parameter of shape \(2, 3, 5\)"
    ):
        c.scale_by_galore(weight_dimension_numbers=c.GaLoreDimensionNumbers()).init(params["conv"])


def test_real_and_imaginary_parts_are_parameters_of_their_own():
    z = {"z": jnp.array([1 + 2j, -1 - 1j]), "x": jnp.array([2.0])}
    pair = {"re": z["z"].real, "im": z["z"].imag, "x": z["x"]}
    tx, plain = c.split_real_and_imaginary(optim.adamw(0.1)), optim.adamw(0.1)
    u, _ = tx.update(z, tx.init(z), z)
    v, _ = plain.update(pair, plain.init(pair), pair)
    np.testing.assert_allclose(u["z"], v["re"] + 1j * v["im"])
    np.testing.assert_allclose(u["x"], v["x"])
    assert u["z"].dtype == z["z"].dtype


@pytest.mark.parametrize("name", ["dog", "dowg", "mechanize", "momo"])
def test_optimisers_that_use_inner_products_see_complex_numbers_as_pairs(name):
    """The gradient that is handed to them is the conjugate of JAX's."""
    tx = OPTIMISERS[name]
    f = lambda z: jnp.sum(jnp.abs(z - (1 + 2j)) ** 2 * jnp.array([1.0, 3.0])) + 0.1 * jnp.sum(jnp.abs(z) ** 4)
    g = lambda p: f(p[0] + 1j * p[1])
    z = jnp.array([0.5j, -1.0 + 1j])
    p = jnp.stack([z.real, z.imag])
    s, t = tx.init(z), tx.init(p)
    for _ in range(4):
        u, s = tx.update(jnp.conj(jax.grad(f)(z)), s, z, value=f(z))
        v, t = tx.update(jax.grad(g)(p), t, p, value=g(p))
        z, p = z + u, p + v
    np.testing.assert_allclose(z, p[0] + 1j * p[1], rtol=1e-5, atol=1e-6)


def test_galore_and_madgrad_take_complex_parameters():
    z = jax.random.normal(jax.random.key(0), (3, 2), jnp.complex64)
    for x in (z, z.T):
        tx = c.scale_by_galore(rank=2, base_optimizer=optim.identity())
        np.testing.assert_allclose(tx.update(x, tx.init(x), x)[0], x, atol=1e-5)
    tx = c.madgrad(1.0, momentum=0.0)
    u, state = tx.update(jnp.array(8j), tx.init(jnp.array(0j)), jnp.array(0j))
    np.testing.assert_allclose(u, -2j, atol=1e-4)
    assert state[1].grad_sum_sq.dtype == jnp.float32


def test_hutchinson_is_the_diagonal_on_average_for_complex_parameters_too():
    matrix = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    tx = c.hutchinson_estimator_diag_hessian()

    def mean_estimate(x, f):
        def step(state, _):
            h, state = tx.update(x, state, x, obj_fn=f)
            return state, h

        return jax.lax.scan(step, tx.init(x), None, length=400)[1].mean(0)

    x = jnp.array([1.0, -2.0])
    np.testing.assert_allclose(mean_estimate(x, lambda x: 0.5 * x @ matrix @ x), jnp.diag(matrix), atol=0.15)


def test_masks_choose_which_parameters_decay():
    mask = {"w": True, "b": False}
    g = jax.tree.map(jnp.ones_like, X0)
    for make in (
        lambda **k: optim.adabelief(0.1, weight_decay=0.5, weight_decay_mask=k["mask"]) if k else optim.adabelief(0.1),
        lambda **k: (
            c.prodigy(estim_lr0=0.1, weight_decay=0.5, weight_decay_mask=k["mask"]) if k else c.prodigy(estim_lr0=0.1)
        ),
        lambda **k: c.ademamix(0.1, weight_decay=0.5, **k) if k else c.ademamix(0.1),
    ):
        plain, decayed, by_function = make(), make(mask=mask), make(mask=lambda p: mask)
        u, _ = plain.update(g, plain.init(X0), X0)
        v, _ = decayed.update(g, decayed.init(X0), X0)
        np.testing.assert_array_equal(u["b"], v["b"])
        assert jnp.all(u["w"] != v["w"])
        again = by_function.update(g, by_function.init(X0), X0)[0]
        jax.tree.map(np.testing.assert_array_equal, v, again)


def test_a_wrong_or_missing_argument_is_named():
    x = jnp.ones(2)
    for tx in (c.momo(), c.momo_adam()):
        with pytest.raises(TypeError, match="update needs the loss"):
            tx.update(x, tx.init(x), x)
    with pytest.raises(TypeError, match="obj_fn=function"):
        c.sophia(0.1).update(x, c.sophia(0.1).init(x), x)
    for name in ("cocob", "dadapt_adamw", "dog", "dowg", "madgrad", "mechanize"):
        with pytest.raises(ValueError, match="needs the parameters"):
            OPTIMISERS[name].update(x, OPTIMISERS[name].init(x))
    with pytest.raises(
        ValueError, match=r"dog: init_step\[0\] must be one of 'distance', 'learning_rate', 'heuristic'"
    ):
        c.dog(init_step=("far", 1.0))
    with pytest.raises(ValueError, match="rank must be a whole number and >= 1, got 0"):
        c.galore(0.1, rank=0)
    with pytest.raises(ValueError, match="num_betas must be a whole number and >= 1, got 0"):
        c.mechanize(optim.sgd(0.1), num_betas=0)
    with pytest.raises(ValueError, match="only one of key and seed"):
        c.dpsgd(0.1, 1.0, 0.1, key=1, seed=2)
