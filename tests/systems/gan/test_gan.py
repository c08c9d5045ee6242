"""The GAN: losses worked by hand, whose gradients go where, and a state that is all there is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop
from renga.loop import RunError
from renga.systems import gan
from renga.systems.gan._losses import LOSSES, gradient_penalty, r1_penalty
from renga.systems.gan._players import GAN

SMALL = gan.Config(gen_sizes=(8,), disc_sizes=(8,), latent_size=4, batch_size=8)
REAL, FAKE = jnp.array([2.0, 0.0]), jnp.array([-1.0, 1.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_losses_match_numbers_worked_by_hand():
    d_real, d_fake = sigmoid(np.array(REAL)), sigmoid(np.array(FAKE))
    cross_entropy = -np.log(d_real).mean() - np.log(1 - d_fake).mean()
    expected = {
        "minimax": (cross_entropy, np.log(1 - d_fake).mean()),
        "non_saturating": (cross_entropy, -np.log(d_fake).mean()),
        "least_squares": (0.5 * (1 + 1) / 2 + 0.5 * (1 + 1) / 2, 0.5 * (4 + 0) / 2),
        "hinge": ((0 + 1) / 2 + (0 + 2) / 2, 0.0),
        "wasserstein": (0.0 - 1.0, 0.0),
    }
    assert set(expected) == set(LOSSES)
    for name, (disc, gen) in expected.items():
        np.testing.assert_allclose(LOSSES[name].disc(REAL, FAKE, 0.0), disc, rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(LOSSES[name].gen(FAKE), gen, rtol=1e-6, atol=1e-7, err_msg=name)


def test_smoothing_moves_the_optimum_of_real_logits():
    # With target 0.9 the best logit is log 9.
    slope = jax.grad(lambda l: LOSSES["non_saturating"].disc(l, FAKE, 0.1))(jnp.log(jnp.array([9.0, 9.0])))
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    slope = jax.grad(lambda l: LOSSES["least_squares"].disc(l, FAKE, 0.1))(jnp.array([0.9, 0.9]))
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_penalties_of_a_linear_discriminator_are_known():
    w = jnp.array([3.0, 4.0])

    def disc(x):
        return x @ w

    x = jax.random.normal(jax.random.key(0), (5, 2))
    assert r1_penalty(disc, x) == pytest.approx(0.5 * 25)
    assert gradient_penalty(disc, x, -x, jax.random.key(1)) == pytest.approx(16.0)
    flat = jax.grad(lambda s: gradient_penalty(lambda x: s * x.sum(1), x, -x, jax.random.key(1)))(0.0)
    assert jnp.isfinite(flat)  # a slope of exactly zero


@pytest.fixture(scope="module")
def players():
    """Two small players with batch normalisation on both sides."""
    config = dataclasses.replace(SMALL, gen_norm="batch", disc_norm="batch", disc_sizes=(8, 8))
    model = GAN(config, (4, 4, 1))
    x = jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
    params, state = jax.jit(model.init)(jax.random.key(1), x)
    return config, params, state, x, model.latents(jax.random.key(2), 8)


def leaves_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_the_two_slides_of_disc_loss_differ_exactly_in_the_generators_state(players):
    config, params, state, x, latents = players
    results = {}
    for stats in ("update", "freeze", "use"):
        model = GAN(dataclasses.replace(config, gen_stats=stats), (4, 4, 1))
        losses = jax.jit(jax.value_and_grad(model.disc_loss, has_aux=True))
        results[stats] = losses(params.disc, params.gen, state, x, latents)
    (loss_1, state_1), grads_1 = results["update"]
    (loss_2, state_2), grads_2 = results["freeze"]
    assert loss_1 == loss_2
    assert leaves_equal(grads_1, grads_2)
    assert leaves_equal(state_1.disc, state_2.disc)
    assert leaves_equal(state_2.gen, state.gen)
    assert not leaves_equal(state_1.gen, state.gen)
    (loss_3, state_3), _ = results["use"]
    assert loss_3 != loss_1
    assert leaves_equal(state_3.gen, state.gen)


def test_the_discriminators_statistics_are_a_choice_while_the_generator_learns(players):
    config, params, state, _, latents = players
    after = {}
    for stats in ("update", "freeze", "use"):
        model = GAN(dataclasses.replace(config, disc_stats=stats), (4, 4, 1))
        after[stats] = jax.jit(model.gen_loss)(params.gen, params.disc, state, latents)[1]
        assert not leaves_equal(after[stats].gen, state.gen)
    assert not leaves_equal(after["update"].disc, state.disc)
    assert leaves_equal(after["freeze"].disc, state.disc)
    assert leaves_equal(after["use"].disc, state.disc)


# Compiling is nearly all the time.


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "hinge", "disc_norm": "spectral", "gen_norm": "layer", "disc_steps": 2},
        {"loss": "wasserstein", "gradient_penalty": 10.0, "r1": 0.0, "gen_steps": 2, "disc_norm": "layer"},
        {"loss": "least_squares", "network": "conv", "disc_norm": "spectral", "gen_norm": "batch"},
        {"loss": "minimax", "network": "conv", "gen_norm": "spectral", "r1": 0.0, "label_smoothing": 0.1},
        {"data": "grid", "gen_stats": "update", "disc_norm": "batch", "disc_stats": "update"},
    ],
    ids=lambda c: c["loss"] if "loss" in c else c["data"],
)
def test_every_choice_takes_a_step_with_finite_metrics(changes):
    config = dataclasses.replace(SMALL, **changes)
    init, step = gan.make(config)
    state = jax.jit(init)(jax.random.key(0))
    after, metrics = jax.jit(step)(state)
    flat = jax.tree.leaves(metrics)
    assert all(jnp.isfinite(x) for x in flat)
    assert {"disc_loss", "gen_loss", "disc_gradient", "gen_gradient", "gradient_cosine"} <= set(metrics)
    assert ("regulariser" in metrics) == bool(config.r1 or config.gradient_penalty)
    assert not leaves_equal(after.params, state.params)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_spectral_normalisation_bounds_the_discriminators_slope():
    config = dataclasses.replace(SMALL, disc_norm="spectral", disc_sizes=(16, 16))
    model = GAN(config, (4, 4, 1))
    x = jax.random.normal(jax.random.key(0), (32, 4, 4, 1))
    params, state = jax.jit(model.init)(jax.random.key(1), x)
    params = params._replace(disc=jax.tree.map(lambda w: 10.0 * w, params.disc))
    disc_state = state.disc
    iterate = jax.jit(lambda state: model.disc.apply(params.disc, state, None, x, "update")[1])
    for _ in range(30):  # power iterations
        disc_state = iterate(disc_state)
    realness = lambda x: model.disc.apply(params.disc, disc_state, None, x[None], "freeze")[0][0]
    slope = jax.jit(jax.vmap(jax.grad(realness)))(x)
    assert jnp.linalg.norm(slope.reshape(32, -1), axis=1).max() <= 1.02


def test_five_steps_saved_and_loaded_and_five_more_are_ten_to_the_bit(tmp_path):
    def run(name, steps, resume=False):
        return loop.run(
            gan.make,
            SMALL,
            steps=steps,
            directory=tmp_path / name,
            system="gan",
            resume=resume,
            num_devices=1,
            show=False,
        )

    whole = run("whole", 10)
    run("parts", 5)
    parts = run("parts", 10, resume=True)
    for x, y in zip(
        jax.tree.leaves(whole.state._replace(key=0)), jax.tree.leaves(parts.state._replace(key=0)), strict=True
    ):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_trained_generator_is_loaded_from_a_run_and_from_a_file(norm, tmp_path, unchecked):
    config = dataclasses.replace(SMALL, data="ring", gen_norm=norm)
    run, file, key = tmp_path / "run", tmp_path / "generator.safetensors", jax.random.key(3)
    state = loop.run(gan.make, config, steps=2, directory=run, system="gan", show=False).state
    gan.export(config, state, file)
    wanted = gan.sample(config, state, key, 9)
    for loaded in (gan.load(run), gan.load(file)):
        assert loaded.config == config
        np.testing.assert_allclose(loaded.sample(key, 9), wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(loaded(loaded.latents(key, 9)), loaded.sample(key, 9))
    with pytest.raises(ValueError, match=r"Generator: latents must have shape \[N, 4\], got \(4,\)"):
        loaded(np.zeros(4))
    with pytest.raises(ValueError, match=r"Generator.sample: num must be >= 1, got 0"):
        loaded.sample(key, 0)
    with pytest.raises(RunError, match="must be the directory of a run, or a file"):
        gan.load(tmp_path / "nothing")


def test_a_generator_of_images_is_loaded_where_its_data_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 6), np.uint8)
    np.savez("x.npz", images=images)
    config, options = dataclasses.replace(SMALL, data="x.npz"), {"system": "gan", "show": False}
    state = loop.run(gan.make, config, steps=1, directory="run", **options).state
    assert loop.run(gan.make, config, steps=1, directory="run", resume=True, **options).finished
    init, step = gan.make(dataclasses.replace(config, sample_shape=(4, 4, 1)))
    with pytest.raises(RunError, match=r"gan: sample_shape must be that of the data, \(4, 6, 1\), got \(4, 4, 1\)"):
        jax.eval_shape(step, jax.eval_shape(init, jax.random.key(0)))
    gan.export(config, state, "file")
    (tmp_path / "elsewhere").mkdir()
    for name in ("run", "file"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    settled, _, restored = loop.restore(loop.RunDirectory("run"), gan)
    assert settled == dataclasses.replace(config, sample_shape=(4, 6, 1))
    gan.export(settled, restored, "again")
    for name in ("run", "file", "again"):
        assert gan.load(name).config == settled
    assert gan.load("run").sample(jax.random.key(0), 3).shape == (3, 4, 6, 1)
    with pytest.raises(ValueError, match=r"there is no x.npz"):
        gan.evaluate(settled, restored)


def test_two_devices_give_the_numbers_of_one(tmp_path):
    states = [
        loop.run(gan.make, SMALL, steps=3, directory=tmp_path / str(n), num_devices=n, show=False).state for n in (1, 2)
    ]
    for x, y in zip(jax.tree.leaves(states[0].params), jax.tree.leaves(states[1].params), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "gan: batch_size must be >= 1, got 0"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing must be 0 with the loss hinge"),
        ({"average_decay": 1.0}, r"average_decay must be in \[0, 1\), got 1.0"),
        ({"data": "ring", "network": "conv"}, "network must be 'mlp' for the data 'ring'"),
        ({"sample_shape": (8, 8)}, r"sample_shape must be of the data, or \(\), got \(8, 8\)"),
        ({"data": "ring", "sample_shape": (8, 8, 1)}, r"sample_shape must be of the data, or \(\)"),
        ({"gen_sizes": ()}, "gen_sizes must be one number or more"),
        ({"gen_learning_rate": float("inf")}, "gan: gen_learning_rate must be finite, got inf"),
        ({"r1": float("nan")}, "gan: r1 must be finite, got nan"),
        ({"latent_size": 2**31}, "gan: latent_size must be a number of 32 bits"),
        ({"gen_norm": "bach"}, "gan: gen_norm must be one of none, batch, layer, spectral, got 'bach'"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_field(changes, message, unchecked):
    with pytest.raises(RunError, match=message):
        gan.make(dataclasses.replace(SMALL, **changes))


def test_the_ring_is_learned_better_than_at_the_start(tmp_path):
    sizes = {"gen_sizes": (64, 64), "disc_sizes": (64, 64), "batch_size": 128}
    config = dataclasses.replace(SMALL, data="ring", decay_steps=0, **sizes)
    init, step = gan.make(config)
    start = jax.jit(init)(jax.random.key(0))

    def distance(state):
        """Mean distance of samples to the nearest mode."""
        from renga.systems.gan._points import centres

        x = np.asarray(gan.sample(config, state, jax.random.key(1), 500, average=False))
        return np.linalg.norm(x[:, None] - centres("ring")[None], axis=-1).min(1).mean()

    before = distance(start)
    *_, last = loop.iterate(step, start, steps=1500, window=1500, donate=False)
    assert distance(last.state) < 0.5 * before


@pytest.mark.parametrize("count", [2, 7, 40])
def test_few_images_have_pictures_and_what_can_be_measured(count, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4), np.uint8)
    np.savez(tmp_path / "x.npz", images=pixels)
    config = dataclasses.replace(SMALL, data=str(tmp_path / "x.npz"), latent_size=1)
    if count == 2:
        with pytest.raises(ValueError, match="2 images are too few to hold out"):
            gan.pictures(config)
        return
    state = jax.jit(gan.make(config)[0])(jax.random.key(0))
    held_out = round(0.2 * count)
    pictures = gan.pictures(config)(state)
    assert pictures["real_left_fake_right"].dtype == np.uint8
    assert all(np.isfinite(x).all() for x in pictures.values())
    measures = gan.evaluate(config, state)
    assert measures == {"held_out_images": 1.0} if held_out == 1 else "coverage" in measures
    assert all(np.isfinite(x) for x in measures.values())


@pytest.mark.parametrize("data", ["ring", "digits"])
def test_a_generator_without_a_finite_sample_has_no_pictures(data):
    config = dataclasses.replace(SMALL, data=data)
    state = jax.jit(gan.make(config)[0])(jax.random.key(0))
    bad = state._replace(average=jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.average))
    assert gan.pictures(config)(bad) == {}
    if data == "digits":
        with pytest.raises(RunError, match="gan: the samples are not finite"):
            gan.evaluate(config, bad)
