"""LPG as a system: lifetimes, the bandit, resume, devices, evolution, the command, the exported rule."""

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renga import loop, optim
from renga._core.values import value
from renga.cli import main
from renga.systems import lpg
from renga.systems.lpg import _bandit, _evolution, _lifetimes, _meta_test, _pictures
from systems.lpg import lpg_small as small

CONFIG = small.CONFIG


@pytest.fixture(scope="module")
def trained():
    """Every state from the first to the fourth step, with the metrics, and how often `step` was traced."""
    init, step = lpg.make(CONFIG)
    traces = []

    @small.jit
    def counted(state):
        traces.append(1)
        return step(state)

    # It lies where a loaded one will, so that one program serves both.
    states, metrics = [jax.device_put(small.jit(init)(jax.random.key(0)), jax.devices()[0])], []
    for _ in range(4):
        state, seen = counted(states[-1])
        states.append(state)
        metrics.append(seen)
    return counted, states, metrics, traces


def same(a, b):
    key_data = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    a, b = (jax.device_get([key_data(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
    return all((x == y).all() for x, y in zip(a, b, strict=True))


def test_a_step_is_traced_once_and_its_metrics_are_finite_scalars(trained):
    _, _, metrics, traces = trained
    assert len(traces) == 1
    for seen in metrics:
        assert all(np.ndim(x) == 0 and np.isfinite(x) for x in jax.tree.leaves(seen))
    assert metrics[0]["env_steps"] == 4 * 3 * 4 * 2
    assert set(metrics[0]["returns"]) == set(CONFIG.worlds)


def test_saving_and_going_on_gives_the_same_bits(trained, tmp_path):
    counted, states, *_ = trained
    loop.Checkpoints(tmp_path).save(2, states[2])
    init, _ = lpg.make(CONFIG)
    _, state = loop.Checkpoints(tmp_path).load_newest(jax.eval_shape(init, jax.random.key(0)))
    for _ in range(2):
        state, _ = counted(state)
    assert same(state, states[4])


def test_lifetimes_begin_at_different_ages_and_end_one_by_one(trained):
    _, states, *_ = trained
    ages = np.array([np.concatenate([p.agents.update for p in s.populations]) for s in states])
    np.testing.assert_array_equal(ages[0], [0, 2, 0, 2])  # two a world, a lifetime of six, two updates a step
    np.testing.assert_array_equal(ages[:, 0], [0, 2, 4, 0, 2])
    np.testing.assert_array_equal(ages[:, 1], [2, 4, 0, 2, 4])


def test_an_agent_that_goes_on_is_not_touched_when_another_ends(trained):
    _, states, *_ = trained
    group = lpg.group_for(CONFIG, "grid/small_sparse", lpg.rule_of(CONFIG), 2)
    population = states[1].populations[0]
    agents = population.agents._replace(update=jnp.array([6, 4]))
    after = small.jit(lambda p: _lifetimes.renew(group, p, jax.random.key(5)))(population._replace(agents=agents))
    one = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
    assert same(one(after.agents, 1), one(agents, 1))
    assert after.agents.update[0] == 0
    assert (after.agents.params["table"][0] == 0).all()
    assert not same(one(after.agents.life.level, 0), one(agents.life.level, 0))
    arm = int(agents.life.arm[0])
    assert after.bandit.count.sum() == 1
    assert after.bandit.returns[arm, 0] == lpg.returns(agents)[0]


def test_the_bandit_chooses_as_often_as_its_formula_says():
    bandit = _bandit.new_bandit(3)
    np.testing.assert_allclose(_bandit.probabilities(bandit), [1 / 3] * 3, rtol=1e-6)
    for arm, number in [(0, 0.1), (0, 0.3), (2, 0.25)]:
        bandit = _bandit.record(bandit, jnp.int32(arm), number)
    np.testing.assert_array_equal(_bandit.probabilities(bandit), [0, 1, 0])  # never tried: first
    bandit = _bandit.record(bandit, jnp.int32(1), 0.0)
    weights = np.exp((np.array([0.2, 0.0, 0.25]) + 0.2 / np.sqrt([2, 1, 1])) / 0.1)
    expected = weights / weights.sum()
    np.testing.assert_allclose(_bandit.probabilities(bandit), expected, rtol=1e-5)
    num = 4000
    drawn = jax.vmap(lambda k: _bandit.choose(bandit, k))(jax.random.split(jax.random.key(1), num))
    counts = np.bincount(drawn, minlength=3)
    chi_square = ((counts - num * expected) ** 2 / (num * expected)).sum()
    assert chi_square < 13.8  # 1 in 1,000 with two degrees of freedom


def test_the_bandit_forgets_all_but_ten():
    bandit = _bandit.new_bandit(1)
    for i in range(13):
        bandit = _bandit.record(bandit, jnp.int32(0), float(i))
    assert sorted(np.asarray(bandit.returns[0])) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert bandit.count[0] == 13


def test_one_device_and_eight_devices_of_two_processes_train_alike(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    script = str(Path(__file__).parent / "lpg_process.py")
    # Compiling is nearly all the time.
    env = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"}
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(tmp_path / "8"), "4", coordinator, i],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in "01"
    ]
    run = loop.run(lpg.make, small.SPLIT, steps=2, directory=tmp_path / "1", num_devices=1, show=False)
    one = small.flat(run.state.eta)
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    np.testing.assert_allclose(np.load(tmp_path / "8" / "eta.npy"), one, atol=2e-5)
    init, _ = lpg.make(small.SPLIT)
    start = small.flat(small.jit(lambda key: init(key).eta)(jax.random.key(0)))
    assert not np.allclose(one, start, atol=2e-4)


def test_adam_for_each_agent_averages_their_steps():
    config = dataclasses.replace(CONFIG, outer="per_agent", worlds=("chain/short",))
    init, step = lpg.make(config)
    before = small.jit(init)(jax.random.key(0))
    after, _ = small.jit(step)(before)
    assert jax.tree.leaves(after.opt)[-1].shape[0] == 4
    # Adam's first step has the size of the learning rate wherever an agent's gradient is not 0, so a mean is no larger.
    moved = [np.abs(x - y) for x, y in zip(jax.tree.leaves(after.eta), jax.tree.leaves(before.eta), strict=True)]
    assert 0.0 < max(m.max() for m in moved) <= 1.001 * config.meta_learning_rate


def test_evolution_climbs_to_what_ends_better():
    """A rule with one number, whose agents learn the better the larger it is: g must push it up."""
    rule = Scaled()
    group = lpg.group_for(
        dataclasses.replace(CONFIG, num_envs=8, rollout_length=10, lifetime=25, learning_rates=(80.0,)),
        "chain/short",
        rule,
        1,
    )
    gradient = small.jit(lambda key: _evolution.evolution_gradient(group, {"scale": jnp.zeros(())}, key, 1.0, 32))
    found, seen = gradient(jax.random.key(0))
    assert found["scale"] < -0.05
    assert np.isfinite(seen["fitness"])


@value
class Scaled(lpg.REINFORCE):
    def init(self, key):
        return {"scale": jnp.zeros(())}

    def __call__(self, eta, inputs):
        targets = super().__call__((), inputs)
        return targets._replace(pi_hat=targets.pi_hat * eta["scale"])


def test_evolution_is_a_choice_of_the_system():
    config = dataclasses.replace(CONFIG, outer="evolution", stddev=1.0, worlds=("grid/small_sparse",))
    init, step = lpg.make(config)
    state = small.jit(init)(jax.random.key(0))
    after, seen = small.jit(step)(state)
    assert seen["env_steps"] == 4 * 6 * 3 * 4
    assert not same(after.eta, state.eta)


def test_hand_made_rules_learn_and_rank_as_they_should():
    """A2C learns a small world, better than chance and no better than the optimum."""
    config = dataclasses.replace(CONFIG, num_envs=16, rollout_length=10, lifetime=60)
    key = jax.random.key(4)
    rivals = [r for r in lpg.contestants(config, None, "grid/small_sparse", 4) if r.name == "A2C"]
    outcome = _meta_test.compete(rivals, key, 60, 4)["A2C"]
    group = rivals[0].group
    chance, best = _meta_test.at_random(group, key, 4), _meta_test.optimum(group, key, 4)
    assert chance.mean() + 0.5 < outcome.final.mean() <= best.mean() + 0.05
    assert outcome.curve.shape == (4, 60)
    assert "learning rate" in outcome.chosen
    assert "trace_decay" in outcome.chosen


def test_regression_finds_what_predictions_encode():
    y = np.random.default_rng(0).dirichlet(np.ones(3), size=50)
    _, r2 = _pictures.regression(y, y @ [1.0, 2.0, -1.0] + 3.0)
    assert r2 > 0.999
    _, r2 = _pictures.regression(y, np.random.default_rng(1).normal(size=50))
    assert r2 < 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_agents": 3}, "lpg: num_agents must be a multiple of 2, got 3"),
        ({"discount": 1.5}, r"lpg: discount must be in \[0, 1\], got 1.5"),
        ({"worlds": ("grid/nowhere",)}, "lpg: worlds must be of .*grid/all.*, got 'grid/nowhere'"),
        ({"lifetime": 1}, "lpg: lifetime must be at least num_updates = 2, got 1"),
        ({"learning_rates": (0.1, float("nan"))}, r"lpg: learning_rates must be finite, got \(0.1, nan\)"),
        ({"network_learning_rates": (0.0,)}, "lpg: network_learning_rates must be > 0, got 0.0"),
        ({"y_costs": (-1.0,)}, "lpg: y_costs must be >= 0, got -1.0"),
        ({"policy_entropy": -0.1}, "lpg: policy_entropy must be >= 0, got -0.1"),
        ({"meta_learning_rate": float("inf")}, "lpg: meta_learning_rate must be finite, got inf"),
        ({"agent_units": (0,)}, "lpg: agent_units must be >= 1, got 0"),
        ({"num_envs": 2**31}, "lpg: num_envs must be a number of 32 bits"),
    ],
)
def test_what_cannot_be_is_said(changes, message):
    with pytest.raises(loop.RunError, match=message):
        lpg.make(dataclasses.replace(CONFIG, **changes))


@pytest.mark.parametrize(("option", "value"), [("levels", 0), ("settings", -1), ("updates", -2), ("seed", 2**32)])
def test_a_measurement_that_cannot_be_is_said(option, value, unchecked):
    with pytest.raises(loop.RunError, match=f"lpg: {option} must be"):
        lpg.evaluate(CONFIG, None, **{option: value})


def test_the_command_trains_measures_and_exports_a_rule_for_ones_own_program(tmp_path, capsys):
    run, file = str(tmp_path / "run"), str(tmp_path / "rule.safetensors")
    flags = "--worlds grid/small_sparse --num-agents 2 --num-envs 2 --rollout-length 4 --num-updates 2 --lifetime 4"
    assert main(["train", "lpg", "--preset", "small", "--units", "8", "--micro-batch", "0", "--steps", "2", "--quiet",
                 "--no-evaluate", "--directory", run, *flags.split()]) == 0  # fmt: skip
    assert main(["eval", run, "--world", "chain/short", "--levels", "2", "--settings", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(f"chain/short ({who})" in printed for who in ("LPG", "A2C", "REINFORCE", "random", "optimum"))
    report = (tmp_path / "run" / "report.html").read_text()
    pictures = "learned rule", "lifetimes", "level of grid small sparse", "meaning of y in grid small sparse"
    assert all(f"alt='{picture} " in report for picture in pictures)
    assert "alt='lifetimes with world chain short with levels 2 with settings 2 at step 2'" in report
    assert main(["export", run, file]) == 0

    rule, eta = lpg.load_rule(file)
    of_run, of_file = lpg.load(run), lpg.load(file)
    assert (of_run.rule, of_file.rule, of_run.config.num_envs, of_file.config) == (rule, rule, 2, of_run.config)
    assert same(of_run.eta, eta)
    assert same(of_file.params, eta)
    lpg.save_rule(tmp_path / "alone", rule, eta)
    assert lpg.load(tmp_path / "alone").config == dataclasses.replace(lpg.Config(), **dataclasses.asdict(rule))
    lpg.load(run, lpg.Config(num_envs=3)).save(tmp_path / "other")
    other = lpg.load(tmp_path / "other")
    assert (other.rule, lpg.rule_of(other.config), other.config.num_envs) == (rule, rule, 3)
    for tree in (eta | {"gru": {}}, {}):
        lpg.save_rule(tmp_path / "less", rule, tree)
        with pytest.raises(
            loop.RunError, match="load_rule: the parameters in .* do not fit its config:\n  .*is missing"
        ):
            lpg.load_rule(tmp_path / "less")
    setup, agent = of_run.begin("grid/small_sparse", jax.random.key(0), learning_rate=0.5)
    assert (agent.life.learning_rate, agent.life.y_cost) == (0.5, of_run.config.y_costs[0])
    assert setup.rule == rule
    with pytest.raises(loop.RunError, match="nothing"):
        lpg.load(tmp_path / "nothing")
    assert rule == lpg.rule_of(dataclasses.replace(lpg.PRESETS["small"][0], units=8))
    y, never = jnp.zeros((5, 8)), jnp.zeros(5, bool)
    inputs = lpg.Inputs(jnp.ones(5), never, never, jnp.zeros(5), y, y, jnp.float32(0.9), jnp.int32(0), jnp.int32(9))
    assert rule(eta, inputs).y_hat.shape == (5, 8)

    assert main(["train", "lpg", "--preset", "huge"]) == 2
    assert "--preset must be one of paper, groove, small" in capsys.readouterr().err
    assert main(["train", "gan", "--preset", "huge"]) == 2
    assert main(["export", run]) == 2


def test_other_optimisers_of_ours_drive_agents_too():
    setup = small.setup(lpg.REINFORCE(), lambda rate: optim.chain(optim.scale_by_lion(), optim.scale(-0.01 * rate)))
    agent = small.agent(setup, jax.random.key(0))
    after, _ = small.jit(lpg.inner_update)(setup, (), agent, jax.random.key(1))
    assert not same(after.params, agent.params)
