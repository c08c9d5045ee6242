"""Each rung of the ladder alone, and that going up changes nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from renga import envs, optim
from renga._core.values import static, value
from renga.systems import lpg
from renga.systems.lpg import _ladder
from renga.systems.lpg._agents import Network, NetworkCritic, Table, TableCritic
from systems.lpg import lpg_small as small

KEY = jax.random.key(11)


@pytest.fixture(scope="module")
def population():
    setup = small.setup()
    agents = small.jit(lambda: small.agents(setup, 4))()
    eta = setup.rule.init(jax.random.key(1))
    eta = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(2), x.shape), eta)
    gradient = small.jit(lpg.meta_gradient, static_argnames=("micro_batch", "per_agent"))
    keys = jax.random.split(KEY, 4)
    return setup, eta, agents, keys, gradient, gradient(setup, eta, agents, keys)


def close(a, b, rtol=2e-5, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def test_rollouts_of_many_environments_are_those_of_each():
    setup = small.setup()
    agent = small.agent(setup, KEY)
    _, rollouts = _ladder._do_rollouts(setup, agent, KEY)
    key = jax.random.split(KEY, 4)[2]
    one = jax.tree.map(lambda x: x[2], agent.env)
    _, rollout = small.jit(lpg.do_rollout)(setup, agent.params, key, agent.life.level, one)
    for x, y in zip(rollout, rollouts, strict=True):
        assert (x == y[2]).all()


def test_actions_are_drawn_as_often_as_the_policy_says():
    logits = jnp.array([0.0, 1.0, -1.0, 0.5])
    u = (jnp.arange(10_000) + 0.5) / 10_000
    drawn = jax.vmap(_ladder._sample, in_axes=(None, 0))(logits, u)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 10_000, jax.nn.softmax(logits), atol=2e-4)


def test_the_size_of_micro_batches_changes_nothing(population):
    *args, gradient, (grads, agents, metrics) = population
    found, after, seen = gradient(*args, micro_batch=1)
    close((grads, metrics), (found, seen))
    close(agents, after)


def test_the_meta_gradient_is_the_mean_of_each_agents(population):
    *args, gradient, (grads, _, _) = population
    each, _, _ = gradient(*args, per_agent=True, micro_batch=2)
    close(grads, jax.tree.map(lambda g: g.mean(0), each))
    assert jax.tree.leaves(each)[0].shape[0] == 4


def test_two_devices_find_the_same_as_one(population):
    setup, eta, agents, keys, _, expected = population
    mesh = Mesh(np.array(jax.devices()[:2]), ("device",))
    whole, parts = PartitionSpec(), PartitionSpec("device")
    rung = jax.shard_map(
        lambda eta, agents, keys: lpg.meta_gradient(setup, eta, agents, keys, axis_name="device"),
        mesh=mesh,
        in_specs=(whole, parts, parts),
        out_specs=(whole, parts, whole),
    )
    close(expected, small.jit(rung)(eta, agents, keys))


def test_micro_batches_must_divide_the_population(population):
    *args, _, _ = population
    with pytest.raises(ValueError, match="meta_gradient: micro_batch must divide the number of agents, 4, got 3"):
        lpg.meta_gradient(*args, micro_batch=3)


@value
class OneHot(Network):
    """The table as a linear function of a one-hot vector."""

    table: Table = static()

    def init(self, key):
        return self.table.init(key)

    def __call__(self, params, s):
        row = jax.nn.one_hot(s, self.table.num_states, dtype=params["table"].dtype) @ params["table"]
        return row[: self.table.num_actions], row[self.table.num_actions :]


def test_looking_a_state_up_is_multiplying_by_its_one_hot_vector(population):
    setup, *args, gradient, (grads, agents, metrics) = population
    found = gradient(dataclasses.replace(setup, network=OneHot(setup.network)), *args)
    close((grads, agents, metrics), found, rtol=1e-4)


def test_bfloat16_products_come_close_and_their_carry_stays_in_float32(population):
    setup, eta, agents, keys, gradient, (grads, _, _) = population
    rule = dataclasses.replace(setup.rule, bf16_products=True)
    found, _, _ = gradient(dataclasses.replace(setup, rule=rule), eta, agents, keys)
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    a, b = flat(grads), flat(found)
    assert not np.allclose(a, b, rtol=1e-6, atol=0)
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999
    program = str(jax.make_jaxpr(lambda x: rule(eta, x))(_inputs(rule)))
    assert "bf16" in program
    assert all("bf16" not in line.split("=")[0] for line in program.splitlines() if " scan[" in line)


def _inputs(rule, T=5, key=KEY):
    y = jax.random.normal(key, (2, T, rule.prediction_size))
    r = jax.random.normal(key, (T,))
    never = jnp.zeros(T, bool)
    return lpg.Inputs(r, never, never, -(r**2), y[0], y[1], jnp.float32(0.9), jnp.int32(3), jnp.int32(10))


@pytest.fixture(scope="module")
def judges():
    """Of each rule what it says of inputs, compiled once, and inputs."""

    @functools.cache
    def of(name):
        rule = small.RULES[name]
        eta = small.jit(rule.init)(KEY)
        return small.jit(lambda inputs: rule(eta, inputs)), _inputs(rule)

    return of


@pytest.mark.parametrize("name", small.RULES)
def test_a_rule_looks_ahead_but_not_past_an_episodes_end(name, judges):
    judge, inputs = judges(name)
    changed = inputs._replace(r_t=inputs.r_t.at[3].add(1.0))
    before, after = judge(inputs).pi_hat, judge(changed).pi_hat
    assert (before[4:] == after[4:]).all()
    assert (before[:4] != after[:4]).all()
    for terminated in (True, False):
        ended = inputs.last_t.at[1].set(True)
        ends = {"last_t": ended, "terminated_t": ended if terminated else inputs.last_t}
        before, after = judge(inputs._replace(**ends)).pi_hat, judge(changed._replace(**ends)).pi_hat
        assert (before[:2] == after[:2]).all()
        assert (before[2:4] != after[2:4]).all()


def test_a_cut_episode_keeps_its_next_prediction_and_an_ended_one_does_not(judges):
    judge, inputs = judges("gru")
    end = inputs.last_t.at[2].set(True)
    other = inputs._replace(y_t=inputs.y_t.at[2].add(jnp.array([1.0, -1.0, 0.5])))
    for terminated, matters in ((True, False), (False, True)):
        ends = {"last_t": end, "terminated_t": end & terminated}
        a, b = judge(inputs._replace(**ends)), judge(other._replace(**ends))
        assert bool((a.pi_hat[2] != b.pi_hat[2]).all()) is matters


def test_temporally_aware_rules_see_the_lifetime_and_others_do_not(judges):
    for name, sees in (("ta", True), ("gru", False)):
        judge, inputs = judges(name)
        later = inputs._replace(update=jnp.int32(9))
        longer = inputs._replace(lifetime=jnp.int32(1000))
        for changed in (later, longer):
            assert bool((judge(inputs).pi_hat != judge(changed).pi_hat).any()) is sees


@pytest.mark.parametrize("optimiser", [optim.sgd, optim.adam])
def test_a2c_as_a_rule_is_a2c(optimiser):
    """Against an A2C written without the ladder: its loss, its λ-advantages, its values."""
    setup = small.setup(lpg.A2C(0.8, 0.02), optimiser)
    agent = small.agent(setup, KEY, learning_rate=0.5)
    _, r = _ladder._do_rollouts(setup, agent, KEY)
    A = setup.network.num_actions
    table = agent.params["table"]
    v_tm1, v_t = table[r.s_tm1, A], table[r.s_t, A]
    advantages = np.zeros(r.r_t.shape)
    for e in range(advantages.shape[0]):
        later = 0.0
        for t in reversed(range(advantages.shape[1])):
            delta = r.r_t[e, t] + 0.9 * (1 - r.terminated_t[e, t]) * v_t[e, t] - v_tm1[e, t]
            later = advantages[e, t] = delta + 0.9 * 0.8 * (1 - r.last_t[e, t]) * later
    advantages = jnp.asarray(advantages, jnp.float32)

    def loss(params):
        rows = params["table"][r.s_tm1]
        log_p = jax.nn.log_softmax(rows[..., :A])
        chosen = jnp.take_along_axis(log_p, r.a_tm1[..., None], -1)[..., 0]
        entropy = -jnp.sum(jnp.exp(log_p) * log_p, -1)
        value_error = advantages + v_tm1 - rows[..., A]
        return jnp.mean(-chosen * advantages + agent.life.y_cost * 0.5 * value_error**2 - 0.02 * entropy)

    updates, _ = optimiser(0.5).update(jax.grad(loss)(agent.params), agent.opt, agent.params)
    expected = optim.apply_updates(agent.params, updates)
    after, _ = small.jit(lpg.inner_update)(setup, (), agent, KEY)
    close(after.params, expected, rtol=1e-5)
    assert not np.allclose(after.params["table"], table)


def test_reinforce_as_a_rule_gives_returns_to_the_episodes_end():
    setup = small.setup(lpg.REINFORCE())
    inputs = _inputs(setup.rule)._replace(r_t=jnp.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    end = jnp.array([False, True, False, False, False])
    targets = setup.rule((), inputs._replace(terminated_t=end, last_t=end, discount=jnp.float32(0.5)))
    np.testing.assert_allclose(targets.pi_hat, [2.0, 2.0, 6.25, 6.5, 5.0])
    assert (setup.rule.divergence(inputs.y_tm1, targets.y_hat) == 0).all()


def test_clipping_clips():
    life = {"learning_rate": 100.0}
    moved = []
    for max_norm in (0.0, 1e-3):
        setup = small.setup(lpg.REINFORCE(), lpg.agent_optimiser("sgd", max_norm))
        agent = small.agent(setup, KEY, **life)
        after, _ = small.jit(lpg.inner_update)(setup, (), agent, KEY)
        moved.append(optim.global_norm(jax.tree.map(jnp.subtract, after.params, agent.params)))
    assert moved[0] > 1.0
    np.testing.assert_allclose(moved[1], 100.0 * 1e-3, rtol=1e-4)


def test_critics_learn_a_fixed_batch():
    spec = envs.Box((3,))
    s_table = jnp.array([0, 0, 1, 2])
    s_net = jnp.eye(3)[s_table]
    targets = jnp.array([1.0, 3.0, -1.0, 0.5])
    for critic, s, rounds in ((TableCritic(4, 0.5), s_table, 20), (NetworkCritic(spec, (16,), 3e-2), s_net, 200)):

        @small.jit
        def losses(critic=critic, s=s, rounds=rounds):
            loss = lambda state: jnp.mean((jax.vmap(critic.value, (None, 0))(state, s) - targets) ** 2)
            first = critic.init(KEY)
            last = jax.lax.fori_loop(0, rounds, lambda _, x: critic.update(x, s, targets), first)
            return loss(first), loss(last)

        first, last = losses()
        assert last < 0.55 < first  # 0.5 is the least: one state has two targets
    state = TableCritic(4, 0.5).update(jnp.zeros(4), s_table, targets)
    np.testing.assert_allclose(state, [1.0, -0.5, 0.25, 0.0])  # half way to the mean of each state's targets
