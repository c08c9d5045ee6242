"""DQN: Q-learning from replay with a target network, and what has been added to it, each as an argument.

One file, top to bottom in the order data flows: Config, State, network, acting, loss, step.

Differs from Mnih et al. 2015 (https://www.nature.com/articles/nature14236):
  * Adam in place of RMSProp, with a learning rate that falls to zero;
  * environments are batched and step inside the compiled update: one gradient step per `num_envs` frames;
  * the target network moves by copies every `target_period` steps, counted in gradient steps.

Options: double (van Hasselt et al. 2016), dueling (Wang et al. 2016), n-step returns, prioritised replay (Schaul et al.
2016), categorical (Bellemare et al. 2017) and quantile (Dabney et al. 2018) value distributions: together, Rainbow
(Hessel et al. 2018) without noisy layers.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.data import PrioritisedReplay, UniformReplay, importance_weights
from renga.loop import check_config, shard_batch
from renga.systems._reinforcement import features, need_one_player

__all__ = ["STEPS", "Agent", "Config", "Recent", "State", "Transition", "evaluate", "make"]

STEPS = 15_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train dqn --help` is made from these comments."""

    env: str = "catch"  # catch, cartpole, grid/NAME, gymnax/NAME or pgx/NAME
    num_envs: int = 8  # environments stepped in parallel
    replay_size: int = 100_000  # transitions kept
    warmup: int = 5_000  # transitions of a random policy in replay before learning starts
    batch_size: int = 128  # transitions a gradient step
    units: tuple[int, ...] = (128, 128)  # of the network's layers
    learning_rate: float = 5e-4
    decay_steps: int = STEPS  # updates over which the learning rate falls to zero along a cosine; 0 keeps it
    max_gradient_norm: float = 10.0
    discount: float = 0.99  # γ
    n_step: int = 10  # rewards in a return before it is bootstrapped
    epsilon: float = 0.01  # ε of the behaviour policy in the end
    epsilon_steps: int = 5_000  # updates over which ε falls from 1
    target_period: int = 200  # updates between copies of online into target
    double: bool = True  # choose the action by the online network, value it by the target network
    dueling: bool = True  # a state's value and the actions' advantages as two streams
    prioritised: bool = True  # draw transitions by their last error
    priority_exponent: float = 0.6  # α of prioritised replay
    importance_exponent: float = 0.4  # β of prioritised replay
    distribution: Literal["none", "categorical", "quantile"] = "none"  # whether to learn returns' distributions
    num_atoms: int = 51  # atoms or quantiles of a distribution
    min_value: float = -1.0  # lowest atom of a categorical distribution
    max_value: float = 1.0  # highest


class Transition(NamedTuple):
    """What n steps came to, in RLax's names; leading axes are added by the caller."""

    s_tm1: Array
    a_tm1: Array
    r_t: Array  # discounted sum of the n rewards, or of as many as the episode had left
    discount_t: Array  # product of the n discounts: 0 where s_t is terminal; a time-out keeps its bootstrap
    s_t: Array  # the state that the sum ends with, never of the next episode
    legal_t: Array | None = None  # which actions are legal in s_t; None if all are


class Recent(NamedTuple):
    """The last n steps of each environment, `[n, num_envs, ...]`, not yet a transition."""

    s_tm1: Array
    a_tm1: Array
    step: envs.Step


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    key: PRNGKeyArray
    step: Array
    online: PyTree
    target: PyTree
    opt: PyTree
    env: envs.Running
    recent: Recent
    replay: PyTree


def _check(config: Config) -> None:
    require = check_config("dqn", config)
    require.numbers("num_envs", "replay_size", "batch_size", "n_step", "target_period", "num_atoms", low=1)
    require.numbers("learning_rate", "max_gradient_norm", above=0)
    require.numbers("discount", "epsilon", "priority_exponent", "importance_exponent", low=0, high=1)
    require.numbers("decay_steps", "epsilon_steps", low=0)
    require.numbers("units", low=1)
    require(bool(config.units), "units", "one number or more")
    require(config.replay_size <= 2**30, "replay_size", "at most 2³⁰")
    require(config.warmup >= config.num_envs, "warmup", f"at least num_envs = {config.num_envs}")
    require(config.replay_size >= config.warmup, "replay_size", f"at least warmup = {config.warmup}")
    require(config.distribution in ("none", "categorical", "quantile"), "distribution", "none, categorical or quantile")
    require(config.min_value < config.max_value, "min_value", f"less than max_value = {config.max_value}")


class Agent(NamedTuple):
    """The networks, and what their outputs mean."""

    network: nn.Transformed
    atoms: Array  # [K]: values of the atoms of a categorical distribution, or [1]
    config: Config

    def outputs(self, params: PyTree, s: Array) -> Float[Array, "B A K"]:
        """Returns values, logits of atoms, or quantiles."""
        return self.network.apply(params, s)

    def q(self, outputs: Float[Array, "*B A K"]) -> Float[Array, "*B A"]:
        """Returns the expected return of each action."""
        if self.config.distribution == "categorical":
            return jnp.matmul(jax.nn.softmax(outputs), self.atoms)
        return jnp.mean(outputs, axis=-1)

    def losses(
        self, online: PyTree, target: PyTree, batch: Transition
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        """Returns the loss of each transition, and the size of its error."""
        out_tm1, out_t = self.outputs(online, batch.s_tm1), self.outputs(target, batch.s_t)
        out_select = self.outputs(online, batch.s_t) if self.config.double else out_t
        a_tm1, r_t, discount_t = batch.a_tm1, batch.r_t, batch.discount_t
        q_select = self.q(out_select)
        if batch.legal_t is not None:  # an illegal action is never the best one
            q_select = jnp.where(batch.legal_t, q_select, -jnp.inf)
            out_select = jnp.where(batch.legal_t[..., None], out_select, -jnp.inf)
        if self.config.distribution == "categorical":
            loss = jax.vmap(rl.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0))(
                self.atoms, out_tm1, a_tm1, r_t, discount_t, self.atoms, out_t, q_select
            )
            return loss, loss
        if self.config.distribution == "quantile":
            middles = (jnp.arange(self.config.num_atoms) + 0.5) / self.config.num_atoms
            quantiles = lambda x: jnp.moveaxis(x, -1, -2)  # rl has [K, A]
            loss = jax.vmap(rl.quantile_q_learning, in_axes=(0, None, 0, 0, 0, 0, 0, None))(
                quantiles(out_tm1), middles, a_tm1, r_t, discount_t, quantiles(out_select), quantiles(out_t), 1.0
            )
            return loss, loss
        td = jax.vmap(rl.double_q_learning)(out_tm1[..., 0], a_tm1, r_t, discount_t, out_t[..., 0], q_select)
        return rl.huber_loss(td), jnp.abs(td)


def _agent(config: Config, env: envs.Environment) -> Agent:
    num_actions, spec = envs.num_actions(env), env.observation_spec
    num_outputs = 1 if config.distribution == "none" else config.num_atoms

    def network(s: Array) -> Array:
        x = features(spec, config.units, s)
        advantage = nn.Linear(num_actions * num_outputs, name="advantage" if config.dueling else "values")(x)
        advantage = advantage.reshape(-1, num_actions, num_outputs)
        if not config.dueling:
            return advantage
        value = nn.Linear(num_outputs, name="value")(x)[:, None, :]
        return value + advantage - jnp.mean(advantage, axis=1, keepdims=True)

    atoms = jnp.linspace(config.min_value, config.max_value, num_outputs)
    return Agent(nn.without_apply_rng(nn.transform(network)), atoms, config)


def _n_step(recent: Recent, discount: float) -> Transition:
    """Adds up the rewards since the oldest step, up to the end of its episode.

    R = r₁ + γ r₂ + … + γⁿ⁻¹ rₙ, discounted by γⁿ from s_n on; after m < n steps if the episode was over by then.
    """
    step = recent.step
    r_t, discount_t, s_t = step.reward[0], discount * (1.0 - step.terminated[0]), step.observation[0]
    legal_t = None if step.legal_actions is None else step.legal_actions[0]
    going_on = ~step.last[0]
    for i in range(1, step.reward.shape[0]):
        r_t = r_t + jnp.where(going_on, discount_t * step.reward[i], 0.0)
        s_t = jnp.where(going_on.reshape(-1, *[1] * (s_t.ndim - 1)), step.observation[i], s_t)
        if legal_t is not None and step.legal_actions is not None:
            legal_t = jnp.where(going_on[:, None], step.legal_actions[i], legal_t)
        discount_t = jnp.where(going_on, discount_t * discount * (1.0 - step.terminated[i]), discount_t)
        going_on &= ~step.last[i]
    return Transition(recent.s_tm1[0], recent.a_tm1[0], r_t, discount_t, s_t, legal_t)


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    need_one_player("dqn", config, env.env)
    agent = _agent(config, env.env)
    if config.prioritised:
        replay = PrioritisedReplay(config.replay_size, config.priority_exponent)
    else:
        replay = UniformReplay(config.replay_size)
    rate = config.learning_rate
    schedule = optim.cosine_decay_schedule(rate, config.decay_steps) if config.decay_steps else rate
    optimiser = optim.chain(optim.clip_by_global_norm(config.max_gradient_norm), optim.adam(schedule))

    def epsilon(step: Array) -> Array:
        fraction = step / max(config.epsilon_steps, 1)
        return jnp.maximum(config.epsilon, 1.0 - fraction * (1.0 - config.epsilon))

    def interact(key: PRNGKeyArray, state: State, epsilon: Array | float) -> State:
        """Takes a step in every environment, and adds what the last n came to."""
        key_act, key_env = jax.random.split(key)
        s_tm1 = env.observe(state.env)
        q = agent.q(agent.outputs(state.online, s_tm1))
        legal = env.legal_actions(state.env) if env.env.has_illegal_actions else None
        a_tm1 = rl.epsilon_greedy(epsilon).sample(key_act, q, mask=legal).astype(jnp.int32)
        env_state, step = env.step(key_env, state.env, a_tm1)
        newest = Recent(s_tm1, a_tm1, step)
        recent = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new[None]]), state.recent, newest)
        items = _n_step(recent, config.discount)
        return state._replace(env=env_state, recent=recent, replay=replay.add(state.replay, items))

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env, key_warmup = jax.random.split(key, 4)
        env_state = env.reset(key_env)
        s = env.observe(env_state)
        online = agent.network.init(key_params, s)
        # `recent` holds no whole transition before it has seen n steps: what these add to replay is forgotten.
        blank = jax.eval_shape(lambda e: env.step(key_env, e, jnp.zeros(config.num_envs, jnp.int32))[1], env_state)
        newest = Recent(s, jnp.zeros(config.num_envs, jnp.int32), blank)
        recent = jax.tree.map(lambda x: jnp.zeros((config.n_step, *x.shape), x.dtype), newest)
        items = jax.eval_shape(lambda recent: _n_step(recent, config.discount), recent)
        item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items)
        empty = replay.init(item)
        state = State(key, jnp.int32(0), online, online, optimiser.init(online), env_state, recent, empty)

        def explore(state: State, key: PRNGKeyArray) -> tuple[State, None]:
            return interact(key, state, 1.0), None

        key_fill, key_warmup = jax.random.split(key_warmup)
        state, _ = jax.lax.scan(explore, state, jax.random.split(key_fill, config.n_step))
        state = state._replace(replay=empty)
        num_steps = -(-config.warmup // config.num_envs)
        return jax.lax.scan(explore, state, jax.random.split(key_warmup, num_steps))[0]

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_interact, key_sample = jax.random.split(state.key, 3)
        ε = epsilon(state.step)
        state = interact(key_interact, state._replace(key=key), ε)
        sample = replay.sample(state.replay, key_sample, config.batch_size)
        items = shard_batch(sample.items)
        weights = jnp.ones(config.batch_size)
        if config.prioritised:
            size = replay.size(state.replay)
            weights = importance_weights(sample.probabilities, size, config.importance_exponent)

        def loss_fn(online: PyTree) -> tuple[Array, Array]:
            losses, errors = agent.losses(online, state.target, items)
            return jnp.mean(weights * losses), errors

        (loss, errors), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.online)
        updates, opt = optimiser.update(grads, state.opt, state.online)
        online = optim.apply_updates(state.online, updates)
        target = optim.periodic_update(online, state.target, state.step + 1, config.target_period)
        if isinstance(replay, PrioritisedReplay):
            kept = replay.update_priorities(state.replay, sample.indices, errors + 1e-3)
            state = state._replace(replay=kept)
        metrics = {
            "episode_return": jnp.mean(state.env.last_return),
            "episode_length": jnp.mean(state.env.last_length.astype(jnp.float32)),
            "loss": loss,
            "gradient_norm": optim.global_norm(grads),
            "epsilon": ε,
        }
        return state._replace(step=state.step + 1, online=online, target=target, opt=opt), metrics

    return init, step


def evaluate(config: Config, state: State) -> dict[str, float]:
    """Plays 100 episodes with the greedy policy."""
    env = envs.make(config.env)
    agent = _agent(config, env)

    def act(key: PRNGKeyArray, s: Array, memory: tuple, legal: Array | bool = True) -> tuple[Array, tuple]:
        q = agent.q(agent.outputs(state.online, s))
        return jnp.argmax(jnp.where(legal, q, -jnp.inf), axis=-1), memory

    def play(key: PRNGKeyArray) -> Array:
        return envs.episode_returns(env, act, key, 100, legal_actions=env.has_illegal_actions)

    returns = jax.jit(play)(jax.random.key(20_201_207))
    return {"greedy return": float(returns.mean()), "greedy return, least of 100": float(returns.min())}
