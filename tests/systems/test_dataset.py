"""Learning from files: what is read, what is refused, losses by hand, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from renga import envs, nn
from renga.cli import main
from renga.loop import RunError
from renga.systems import _dataset, d4pg, mpo, sac, td3
from renga.systems._reinforcement import Transition

SMALL = {"units": (4,), "batch_size": 8, "updates": 2, "warmup": 8, "replay_size": 16}


class Line(envs.Environment):
    """A point on a line, told as it is, that an action moves."""

    observation_spec = envs.Box((1,))
    action_spec = envs.Box((1,), -1.0, 1.0)

    def reset(self, key):
        raise NotImplementedError

    step = observe = reset


def arrays(num, seed=0):
    """Episodes of three steps, of which every second one is truncated."""
    rng, t = np.random.default_rng(seed), np.arange(num)
    return {
        "observations": rng.standard_normal((num, 1)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (num, 1)).astype(np.float32),
        "rewards": rng.standard_normal(num).astype(np.float32),
        "terminations": t % 6 == 2,
        "truncations": t % 6 == 5,
        "next_observations": rng.standard_normal((num, 1)).astype(np.float32),
    }


def started(system, config):
    """Parameters that nothing was learned by yet."""
    return jax.jit(lambda key: system.make(config)[0](key).params)(jax.random.key(0))


def by_hand(x, discount, n):
    """One transition after the other."""
    rows = []
    for t in range(len(x["rewards"])):
        total, power, at = 0.0, 1.0, t
        for at in range(t, min(t + n, len(x["rewards"]))):
            total, power = total + power * x["rewards"][at], power * discount
            if x["terminations"][at] or x["truncations"][at]:
                break
        rows.append((total, 0.0 if x["terminations"][at] else power, x["next_observations"][at]))
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("names", ["minari", "d4rl"])
def test_returns_of_n_steps_end_with_their_episode(n, names, tmp_path):
    x = arrays(17)
    renamed = {"terminations": "terminals", "truncations": "timeouts"} if names == "d4rl" else {}
    path = str(tmp_path / "x.npz")
    np.savez(path, **{renamed.get(name, name): value for name, value in x.items()})
    found = _dataset.read(path, Line(), 0.9, n)
    r, discount, s_t = by_hand(x, 0.9, n)
    np.testing.assert_allclose(found.r_t, r, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.discount_t, discount, rtol=1e-6)
    np.testing.assert_array_equal(found.s_t, s_t)
    np.testing.assert_array_equal(found.a_tm1, x["actions"])


def test_next_observations_are_those_of_the_next_row_and_unknown_ones_are_left_out(tmp_path):
    x = arrays(14)  # the last episode is cut by the end of the file
    del x["next_observations"]
    path = str(tmp_path / "x.safetensors")
    nn.save(path, jax.tree.map(jnp.asarray, x))
    found = jax.tree.map(np.asarray, _dataset.read(path, Line(), 0.9, 2))
    kept = np.setdiff1d(np.arange(14), [5, 11, 13])
    s, a = x["observations"], x["actions"]
    np.testing.assert_array_equal(found.s_tm1, s[kept])
    np.testing.assert_array_equal(found.a_tm1, a[kept])
    at = list(kept).index
    np.testing.assert_array_equal(found.s_t[at(3)], s[5])  # two steps on
    np.testing.assert_array_equal(found.s_t[at(4)], s[5])  # one: what comes then is unknown
    np.testing.assert_allclose(found.discount_t[[at(3), at(4)]], [0.81, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(found.discount_t[[at(1), at(2)]], 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": None}, "must have observations, actions, rewards, terminations, it has no rewards"),
        ({"actions": np.zeros((6, 2), np.float32)}, r"actions in .* must have the shape \[6, 1\], got \[6, 2\]"),
        ({"actions": np.full((6, 1), 2.0, np.float32)}, r"actions in .* must be in .*got some in \[2.0, 2.0\]"),
        ({"rewards": np.full(6, np.nan)}, "rewards in .* must be finite"),
        ({"rewards": np.full(6, 1e300)}, "rewards in .* must be finite, as float32"),
        ({"terminations": np.full(6, 2)}, "terminations in .* must be of the type bool, got int64"),
    ],
)
def test_a_file_that_does_not_fit_is_said(change, message, tmp_path):
    x = arrays(6) | change
    np.savez(tmp_path / "x.npz", **{name: value for name, value in x.items() if value is not None})
    with pytest.raises(RunError, match=message):
        _dataset.read(str(tmp_path / "x.npz"), Line(), 0.9, 1)


def test_numbers_of_a_table_are_its_own_and_a_box_may_be_left(tmp_path):
    class Table(Line):
        observation_spec = envs.Discrete(4)

    class Narrow(Line):
        observation_spec = envs.Box((1,), 0.0, 1e-3)

    numbers = {"observations": np.arange(6) % 4, "next_observations": np.arange(1, 7) % 4}
    np.savez(tmp_path / "right.npz", **(arrays(6) | numbers))
    assert _dataset.read(str(tmp_path / "right.npz"), Table(), 0.9, 1).s_tm1.tolist() == [0, 1, 2, 3, 0, 1]
    np.savez(tmp_path / "box.npz", **arrays(6))
    seen = _dataset.read(str(tmp_path / "box.npz"), Narrow(), 0.9, 1).s_tm1
    np.testing.assert_array_equal(seen, arrays(6)["observations"])
    for name, wrong in (("observations", 99), ("observations", -1), ("next_observations", 4)):
        x = arrays(6) | numbers | {name: np.where(np.arange(6) == 2, wrong, numbers[name])}
        np.savez(tmp_path / "wrong.npz", **x)
        with pytest.raises(RunError, match=rf"dataset: {name} in .* must be in \[0.0, 3.0\], got some in"):
            _dataset.read(str(tmp_path / "wrong.npz"), Table(), 0.9, 1)


def test_a_file_that_is_none_is_said_and_executes_nothing(tmp_path):
    for name, content in (("x.npz", b"no"), ("x.pkl", b"no")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match="dataset"):
            _dataset.read(str(tmp_path / name), Line(), 0.9, 1)
    np.savez(tmp_path / "pickled.npz", **(arrays(6) | {"rewards": np.array([print] * 6, object)}))
    with pytest.raises(RunError, match="cannot be read"):
        _dataset.read(str(tmp_path / "pickled.npz"), Line(), 0.9, 1)
    with pytest.raises(RunError, match="cannot be read"):
        _dataset.read(str(tmp_path / "missing.npz"), Line(), 0.9, 1)


# ---------------------------------------------------------------- losses


def a_batch(size=5):
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)
    return Transition(draw(size, 3), 2 * draw(size, 1), draw(size), 0.9 + 0 * draw(size), draw(size, 3))


def test_the_actor_clones_and_counts_q_by_its_size():
    config = td3.Config(**SMALL, cloning=True, q_weight=2.5)
    agent = td3.networks(config, envs.make("pendulum"))
    params, batch = started(td3, config), a_batch()

    @jax.jit
    def found(params):
        loss, _ = agent.actor_loss(params.actor, (batch.s_tm1, batch.a_tm1), params)
        mu = agent.policy(params.actor, batch.s_tm1)
        return loss, mu, agent.critics(params.critics, batch.s_tm1, mu)[0]

    loss, mu, q = jax.device_get(found(params))
    expected = -2.5 * q.mean() / np.abs(q).mean() + np.mean(np.square((mu - batch.a_tm1) / 2.0))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_conservative_values_over_a_box_are_an_integral():
    config = sac.Config(**SMALL, conservative=1.0, num_samples=4_000, min_log_scale=-0.5, max_log_scale=0.2)
    agent = sac.networks(config, envs.make("pendulum"))
    params, s = started(sac, config), a_batch(2).s_tm1
    u = np.linspace(-1, 1, 2_001)

    @jax.jit
    def both(params, u):
        keys = jax.random.split(jax.random.key(1), 2)
        q = jax.vmap(lambda u: agent.q(params.critics, s, jnp.full((2, 1), 2 * u)))(u)
        return agent.soft_maximum(params.actor, params.critics, keys, s, None), q

    found, q = both(params, np.float32(u))
    expected = logsumexp(np.asarray(q, np.float64), axis=0) + np.log(u[1] - u[0])
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_conservative_values_of_choices_are_a_sum_over_what_is_legal():
    config = sac.Config(env="catch", **SMALL, conservative=0.5)
    agent = sac.networks(config, envs.make("catch"))
    params, legal = started(sac, config), jnp.array([[True, True, False]] * 2)
    s = jax.random.normal(jax.random.key(3), (2, 10, 5))
    steps = Transition(s, jnp.array([0, 1]), jnp.ones(2), jnp.ones(2), s, legal, legal)
    plain = sac.networks(dataclasses.replace(config, conservative=0.0), envs.make("catch"))

    @jax.jit
    def all_of(params):
        keys = jax.random.split(jax.random.key(2), 2)
        found = agent.soft_maximum(params.actor, params.critics, keys, s, legal)
        losses = [x.critic_loss(params.critics, (keys, steps), params)[0] for x in (agent, plain)]
        return found, agent.critics(params.critics, s), losses[0] - losses[1]

    found, q, more = jax.device_get(all_of(params))
    q = q[..., :2]
    np.testing.assert_allclose(found, logsumexp(q, axis=-1), rtol=1e-5)
    taken = q[:, [0, 1], [0, 1]]
    np.testing.assert_allclose(more, 0.5 * np.sum(np.mean(found - taken, axis=1)), rtol=1e-4)


# ---------------------------------------------------------------- learning


@pytest.fixture(scope="module")
def swings(tmp_path_factory):
    """A dataset of a policy of Pendulum's that is known."""
    rng, env = np.random.default_rng(0), envs.make("pendulum")
    starts = jax.jit(jax.vmap(lambda key: env.observe(env.reset(key))))
    s = np.asarray(starts(jax.random.split(jax.random.key(0), 400)))
    a = np.clip(2.0 * s[:, 1:2], -2, 2).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "swings.npz"
    np.savez(
        path, observations=s, actions=a, rewards=rng.standard_normal(400), terminations=np.zeros(400, bool),
        next_observations=s, truncations=np.zeros(400, bool),
    )  # fmt: skip
    return str(path), s, a


@pytest.mark.parametrize("system", [d4pg, mpo, sac, td3])
def test_a_step_learns_from_the_file_alone(system, swings):
    config = system.Config(**SMALL, dataset=swings[0])
    init, step = system.make(config)
    state = jax.jit(init)(jax.random.key(0))
    after, metrics = jax.jit(step)(state)
    assert "env_steps" not in metrics
    assert all(np.isfinite(x) for x in metrics.values())
    assert int(after.step) == 1
    moved = jax.tree.map(lambda a, b: np.any(np.asarray(a) != np.asarray(b)), state.params, after.params)
    assert any(jax.tree.leaves(moved.actor))


def test_behaviour_cloning_finds_the_policy_of_the_file(swings):
    path, s, a = swings
    config = dataclasses.replace(td3.PRESETS["bc"][0], units=(32,), batch_size=64, updates=8, dataset=path)
    init, step = td3.make(config)
    state = jax.jit(lambda key: jax.lax.fori_loop(0, 200, lambda i, state: step(state)[0], init(key)))(
        jax.random.key(0)
    )
    agent = td3.Agent(config, td3.Agent.learned(config, state))
    error = np.mean(np.square(agent.act(s) - a))
    assert error < 0.02 * a.var(), (error, a.var())


def test_the_command_collects_and_learns_from_it(tmp_path, capsys):
    run, file = str(tmp_path / "run"), str(tmp_path / "x.npz")
    flags = ["--units", "4", "--warmup", "8", "--batch-size", "4", "--replay-size", "16", "--steps", "2"]
    flags += ["--quiet", "--no-evaluate"]
    assert main(["train", "td3", "--directory", run, *flags]) == 0
    assert main(["collect", run, file, "--steps", "30"]) == 0
    assert "30 steps, 1 episodes" in capsys.readouterr().out
    with np.load(file) as found:
        assert found["observations"].shape == (30, 3)
        np.testing.assert_allclose(found["observations"][1:], found["next_observations"][:-1])
    offline = ["train", "td3", "--preset", "td3_bc", "--dataset", file, "--directory", str(tmp_path / "offline")]
    assert main([*offline, *flags]) == 0
    assert main(["train", "td3", "--dataset", "nowhere.npz", "--directory", str(tmp_path / "none"), *flags]) == 1
    assert "nowhere.npz cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main(["collect", run, "x.txt"]) == 2
    assert "FILE must be a name that ends in .npz, got x.txt" in capsys.readouterr().err
