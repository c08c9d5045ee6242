"""The ladder: one agent in one environment, many environments, many agents, many devices. Each rung is a pure function.

    do_rollout         one agent in one environment
    apply_update_rule  one rule, one rollout
    inner_update       one agent in E environments: vmap of the two above, then a gradient step
    outer_loss         K inner updates of one agent, then how good it has become
    meta_gradient      vmap of `outer_loss` over agents, differentiated by the rule's meta-parameters, and with the name
                       of a device axis the mean over devices

The rule's targets are computed once, outside the agent's own gradient, so that the meta-gradient is the derivative of
the objective.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from renga import envs, optim
from renga._core.values import static, value
from renga._core.varying import vary_like
from renga.loop import device_mean
from renga.systems._reinforcement import entropy, log_prob
from renga.systems.lpg._agents import Critic, Network
from renga.systems.lpg._experience import Inputs, Rollout, Targets
from renga.systems.lpg._rules import Rule, advantage


@value
class Setup:
    """What stays the same for all agents of a group.

    Attributes:
      rule: the update rule.
      network: the agents' function of an observation.
      critic: the value function for the meta-gradient's advantages.
      optimiser: makes an agent's optimiser of its learning rate: any of `renga.optim`.
      rollout_length: T.
      num_updates: K, inner updates a meta-gradient goes through.
      discount: γ.
      trace_decay: λ of the critic's advantages.
      policy_entropy: β₀, weight of the entropy of the agents' policies in the meta-objective.
      prediction_entropy: β₁, that of their predictions.
      pi_hat_cost: β₂, weight of π̂².
      y_hat_cost: β₃, weight of ‖ŷ‖².
      through_policy: whether the meta-gradient flows through π(a|s) where the rule sees it.
      through_predictions: whether it flows through y where the rule sees it.
      remat: whether inner updates are computed again on the way back, instead of kept.
    """

    rule: Rule
    network: Network
    critic: Critic
    optimiser: Callable[[Any], optim.GradientTransformation] = static()
    rollout_length: int = static(default=20)
    num_updates: int = static(default=5)
    discount: float = 0.995
    trace_decay: float = 0.95
    policy_entropy: float = 0.01
    prediction_entropy: float = 0.001
    pi_hat_cost: float = 0.001
    y_hat_cost: float = 0.001
    through_policy: bool = static(default=True)
    through_predictions: bool = static(default=True)
    remat: bool = static(default=False)


class Life(NamedTuple):
    """What an agent is given for its lifetime.

    Attributes:
      level: its environment.
      learning_rate: of its own optimiser.
      y_cost: α_y, the weight of its predictions' loss.
      length: N, the updates of the lifetime.
      arm: which choice of hyperparameters this is.
    """

    level: envs.Environment
    learning_rate: Float[Array, "*B"]
    y_cost: Float[Array, "*B"]
    length: Int[Array, "*B"]
    arm: Int[Array, "*B"]


class Agent(NamedTuple):
    """One agent, in E environments of one level.

    Attributes:
      life: what it was given.
      params: θ.
      opt: state of its optimiser.
      critic: state of its critic.
      env: its E running environments.
      update: n, the updates it has made.
    """

    life: Life
    params: PyTree
    opt: PyTree
    critic: PyTree
    env: envs.Running
    update: Int[Array, "*B"]


def new_agent(setup: Setup, life: Life, key: PRNGKeyArray, num_envs: int) -> Agent:
    """Begins a life: draws θ, the critic, and the first episode of each environment."""
    key_params, key_critic, key_env = jax.random.split(key, 3)
    params = setup.network.init(key_params)
    opt = setup.optimiser(life.learning_rate).init(params)
    env = envs.Batch(life.level, num_envs).reset(key_env)
    return Agent(life, params, opt, setup.critic.init(key_critic), env, jnp.int32(0))


def do_rollout(
    setup: Setup, params: PyTree, key: PRNGKeyArray, level: envs.Environment, env_state: envs.Running
) -> tuple[envs.Running, Rollout]:
    """Lets one agent act in one environment for T steps.

    Args:
      setup: what the agent is.
      params: its θ; nothing flows back through what it does.
      key: a key.
      level: the environment.
      env_state: where it stands.

    Returns:
      Where it stands after T steps, and the rollout.
    """
    params = jax.lax.stop_gradient(params)
    env = envs.AutoReset(level)
    key_act, key_env = jax.random.split(key)
    u = jax.random.uniform(key_act, (setup.rollout_length,))

    def step(state: envs.Running, x: tuple[Array, PRNGKeyArray]) -> tuple[envs.Running, Rollout]:
        u, key = x
        s_tm1 = env.observe(state)
        a_tm1 = _sample(setup.network(params, s_tm1)[0], u)
        state, out = env.step(key, state, a_tm1)
        return state, Rollout(s_tm1, a_tm1, out.reward, out.observation, out.terminated, out.last)

    return jax.lax.scan(step, env_state, (u, jax.random.split(key_env, setup.rollout_length)))


def _sample(logits: Float[Array, " A"], u: Float[Array, ""]) -> Int[Array, ""]:
    """Draws an action by a number in [0, 1): the first whose cumulative probability exceeds it."""
    cumulative = jnp.cumsum(jax.nn.softmax(logits))
    return jnp.sum(u * cumulative[-1] >= cumulative[:-1], dtype=jnp.int32)


def apply_update_rule(
    setup: Setup, eta: PyTree, params: PyTree, rollout: Rollout, update: Int[Array, ""], lifetime: Int[Array, ""]
) -> Targets:
    """Lets a rule judge one rollout of an agent.

    Args:
      setup: what the agent and the rule are.
      eta: the rule's meta-parameters.
      params: the agent's θ, with which the rollout was made.
      rollout: T steps in one environment.
      update: n, the updates the agent has made.
      lifetime: N, those it will have made.

    Returns:
      π̂ `[T]` and ŷ `[T, M]`.
    """
    logits, y_tm1 = jax.vmap(setup.network, in_axes=(None, 0))(params, rollout.s_tm1)
    _, y_t = jax.vmap(setup.network, in_axes=(None, 0))(params, rollout.s_t)
    log_pi = log_prob(logits, rollout.a_tm1)
    if not setup.through_policy:
        log_pi = jax.lax.stop_gradient(log_pi)
    if not setup.through_predictions:
        y_tm1, y_t = jax.lax.stop_gradient((y_tm1, y_t))
    discount = jnp.asarray(setup.discount, log_pi.dtype)
    inputs = Inputs(rollout.r_t, rollout.terminated_t, rollout.last_t, log_pi, y_tm1, y_t, discount, update, lifetime)
    return setup.rule(eta, inputs)


def agent_loss(
    setup: Setup, params: PyTree, rollout: Rollout, targets: Targets, y_cost: Float[Array, ""]
) -> Float[Array, ""]:
    """What an agent descends, given its targets: the mean over the T steps of one rollout of

        −log π_θ(a|s) π̂ + α_y D(y_θ(s), ŷ) − β H(π_θ(s))

    References:
      Oh et al., "Discovering reinforcement learning algorithms", 2020, eq. 2.
    """
    logits, y = jax.vmap(setup.network, in_axes=(None, 0))(params, rollout.s_tm1)
    loss = y_cost * setup.rule.divergence(y, targets.y_hat) - log_prob(logits, rollout.a_tm1) * targets.pi_hat
    return jnp.mean(loss - setup.rule.entropy_bonus * entropy(logits))


def inner_update(setup: Setup, eta: PyTree, agent: Agent, key: PRNGKeyArray) -> tuple[Agent, dict[str, Array]]:
    """One update of one agent by a rule, from T steps in each of its E environments.

    Args:
      setup: what the agent and the rule are.
      eta: the rule's meta-parameters. The result may be differentiated by them.
      agent: the agent.
      key: a key.

    Returns:
      The agent after the update, and scalars: what the meta-objective's regularisers need, and the mean reward.
    """
    env, rollouts = _do_rollouts(setup, agent, key)
    learn = jax.checkpoint(_learn, prevent_cse=False) if setup.remat else _learn
    params, opt, regularisers = learn(setup, eta, agent.params, agent.opt, rollouts, agent.life, agent.update)
    critic, _ = _criticise(setup, agent.critic, rollouts)
    agent = agent._replace(params=params, opt=opt, critic=critic, env=env, update=agent.update + 1)
    return agent, regularisers | {"reward": jnp.mean(rollouts.r_t)}


def _do_rollouts(setup: Setup, agent: Agent, key: PRNGKeyArray) -> tuple[envs.Running, Rollout]:
    """`do_rollout` in each of the agent's environments: `[E, T]`."""
    keys = jax.random.split(key, agent.env.num_episodes.shape[0])
    return jax.vmap(do_rollout, in_axes=(None, None, 0, None, 0))(
        setup, agent.params, keys, agent.life.level, agent.env
    )


def _learn(
    setup: Setup, eta: PyTree, params: PyTree, opt: PyTree, rollouts: Rollout, life: Life, update: Int[Array, ""]
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """Moves θ towards the rule's targets. The meta-gradient goes backwards through this, and through nothing else."""
    targets = jax.vmap(apply_update_rule, in_axes=(None, None, None, 0, None, None))(
        setup, eta, params, rollouts, update, life.length
    )

    def loss(params: PyTree) -> Array:
        losses = jax.vmap(agent_loss, in_axes=(None, None, 0, 0, None))(setup, params, rollouts, targets, life.y_cost)
        return jnp.mean(losses)

    updates, opt = setup.optimiser(life.learning_rate).update(jax.grad(loss)(params), opt, params)
    params = optim.apply_updates(params, updates)

    logits, y = _for_all(setup.network, params, rollouts.s_tm1)
    return params, opt, {
        "policy_entropy": jnp.mean(entropy(logits)),
        "prediction_entropy": jnp.mean(entropy(y)),
        "pi_hat_squared": jnp.mean(targets.pi_hat**2),
        "y_hat_squared": jnp.mean(jnp.sum(targets.y_hat**2, axis=-1)),
    }  # fmt: skip


def _for_all(f: Callable, params: PyTree, s: PyTree) -> Any:
    """Applies a function of one observation to `[E, T]` of them."""
    return jax.vmap(jax.vmap(f, in_axes=(None, 0)), in_axes=(None, 0))(params, s)


def _criticise(setup: Setup, critic: PyTree, rollouts: Rollout) -> tuple[PyTree, Float[Array, "E T"]]:
    """Returns the critic after one update on these rollouts, and the advantages before it."""
    v_tm1, v_t = (_for_all(setup.critic.value, critic, s) for s in (rollouts.s_tm1, rollouts.s_t))
    adv = jax.vmap(advantage, in_axes=(0, 0, 0, 0, 0, None, None))(
        rollouts.r_t, rollouts.terminated_t, rollouts.last_t, v_tm1, v_t, setup.discount, setup.trace_decay
    )
    s = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollouts.s_tm1)
    return setup.critic.update(critic, s, (adv + v_tm1).reshape(-1)), adv


def outer_loss(
    setup: Setup, eta: PyTree, agent: Agent, key: PRNGKeyArray
) -> tuple[Float[Array, ""], tuple[Agent, dict]]:
    """Updates one agent K times by a rule, and says how bad it is then.

        J(η) = E[log π_{θ_K}(a|s) A] + β₀ H(π) + β₁ H(y) − β₂ π̂² − β₃ ‖ŷ‖²

    The first mean is over T steps that the agent takes after its updates, the others are over the K updates; entropies
    are of the updated agent. A is the critic's advantage, a constant.

    Args:
      setup: what the agent and the rule are.
      eta: the rule's meta-parameters.
      agent: the agent.
      key: a key.

    Returns:
      −J; the agent after the K updates, its critic and environments after the last rollout too; and scalars to look at.

    References:
      Oh et al., "Discovering reinforcement learning algorithms", 2020, eq. 4 and 5.
    """
    key_validate, *keys = jax.random.split(key, setup.num_updates + 1)
    agent, regularisers = jax.lax.scan(lambda agent, key: inner_update(setup, eta, agent, key), agent, jnp.stack(keys))
    means = jax.tree.map(jnp.mean, regularisers)

    env, rollouts = _do_rollouts(setup, agent, key_validate)
    critic, adv = _criticise(setup, agent.critic, rollouts)
    logits, _ = _for_all(setup.network, agent.params, rollouts.s_tm1)
    objective = jnp.mean(log_prob(logits, rollouts.a_tm1) * jax.lax.stop_gradient(adv))
    objective += setup.policy_entropy * means["policy_entropy"] + setup.prediction_entropy * means["prediction_entropy"]
    objective -= setup.pi_hat_cost * means["pi_hat_squared"] + setup.y_hat_cost * means["y_hat_squared"]
    metrics = means | {"advantage_squared": jnp.mean(adv**2), "objective": objective}
    return -objective, (agent._replace(critic=critic, env=env), metrics)


def meta_gradient(
    setup: Setup,
    eta: PyTree,
    agents: Agent,
    keys: Array,
    *,
    micro_batch: int | None = None,
    per_agent: bool = False,
    axis_name: str | None = None,
) -> tuple[PyTree, Agent, dict[str, Array]]:
    """The meta-gradient of a population: the mean over agents of ∂(−J)/∂η.

    Args:
      setup: what the agents and the rule are.
      eta: the rule's meta-parameters.
      agents: a population, each array with a leading axis `[B]`.
      keys: `[B]`.
      micro_batch: how many agents are taken at a time; all by default. The result is the same.
      per_agent: whether each agent's meta-gradient is kept apart, `[B, ...]`, and no mean is taken.
      axis_name: a mapped axis over devices, of which the mean is taken too.

    Returns:
      The meta-gradient, the agents after their K updates, and the mean of each of their scalars.

    Raises:
      ValueError: if the micro-batch does not divide B.
    """
    B = agents.update.shape[0]
    size = B if micro_batch is None else micro_batch
    if size < 1 or B % size:
        raise ValueError(f"meta_gradient: micro_batch must divide the number of agents, {B}, got {micro_batch}")
    eta = vary_like(eta, agents)  # each device differentiates by its own copy, so that the mean below is the only one

    def mean_loss(eta: PyTree, agents: Agent, keys: Array) -> tuple[Array, tuple[Agent, dict]]:
        losses, aux = jax.vmap(outer_loss, in_axes=(None, None, 0, 0))(setup, eta, agents, keys)
        return jnp.mean(losses), aux

    def of_batch(total: PyTree, batch: tuple[Agent, Array]) -> tuple[PyTree, tuple[PyTree, Agent, dict]]:
        if per_agent:
            one = jax.grad(outer_loss, argnums=1, has_aux=True)
            grads, aux = jax.vmap(one, in_axes=(None, None, 0, 0))(setup, eta, *batch)
            return total, (grads, *aux)
        grads, aux = jax.grad(mean_loss, has_aux=True)(eta, *batch)
        return jax.tree.map(lambda t, g: t + g * (size / B), total, grads), ((), *aux)

    cut = lambda x: x.reshape(B // size, size, *x.shape[1:])
    join = lambda x: x.reshape(B, *x.shape[2:])
    nothing = jax.tree.map(jnp.zeros_like, eta)
    total, stacked = jax.lax.scan(of_batch, vary_like(nothing, agents), jax.tree.map(cut, (agents, keys)))
    each, agents, metrics = jax.tree.map(join, stacked)
    means = jax.tree.map(jnp.mean, metrics)
    total, means = device_mean(((), means) if per_agent else (total, means), axis_name)
    return each if per_agent else total, agents, means
