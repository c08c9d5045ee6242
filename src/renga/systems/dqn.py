"""DQN: Q-learning from replay with a target network, and what has been added to it, each as an argument.

One file, top to bottom in the order data flows: Config, State, network, acting, loss, step.

Differs from Mnih et al. 2015 (https://www.nature.com/articles/nature14236):
  * Adam in place of RMSProp, with a learning rate that falls to zero;
  * environments are batched and step inside the compiled update: `updates` gradient steps per `num_envs` frames;
  * the target network moves by copies every `target_period` gradient steps, or a little in each.

Options: double (van Hasselt et al. 2016), dueling (Wang et al. 2016), n-step returns, prioritised replay (Schaul et al.
2016), categorical (Bellemare et al. 2017) and quantile (Dabney et al. 2018) value distributions: together, Rainbow
(Hessel et al. 2018) without noisy layers.
"""

import dataclasses
import functools
import os
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.data import PrioritisedReplay, UniformReplay, importance_weights
from renga.loop import check_config, shard_batch
from renga.systems._agent import Player, TrainedAgent, judged, read
from renga.systems._reinforcement import (
    Recent,
    Transition,
    blank,
    check_replay,
    episode_metrics,
    features,
    go_on,
    need_one_player,
    warm_up,
)

__all__ = [
    "STEPS",
    "Agent",
    "Config",
    "Networks",
    "Recent",
    "State",
    "Transition",
    "evaluate",
    "export",
    "load",
    "make",
    "networks",
]

STEPS = 15_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters; `renga train dqn --help` is made from these comments."""

    env: str = "catch"  # catch, cartpole, grid/NAME, gymnax/NAME or pgx/NAME
    num_envs: int = 8  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # transitions kept
    warmup: int = 5_000  # transitions of a random policy in replay before learning starts
    batch_size: int = 128  # transitions a gradient step
    units: tuple[int, ...] = (128, 128)  # of the network's layers
    learning_rate: float = 1e-3
    decay_steps: int = STEPS  # steps over which the learning rate falls to zero along a cosine; 0 keeps it
    max_gradient_norm: float = 10.0
    discount: float = 0.99  # γ
    n_step: int = 20  # rewards in a return before it is bootstrapped
    epsilon: float = 0.01  # ε of the behaviour policy in the end
    epsilon_steps: int = 5_000  # steps over which ε falls from 1
    target_period: int = 50  # gradient steps between copies of online into target
    target_rate: float = 0.0  # τ: how far the target goes towards online in a gradient step; 0 for copies
    double: bool = True  # choose the action by the online network, value it by the target network
    dueling: bool = True  # a state's value and the actions' advantages as two streams
    prioritised: bool = True  # draw transitions by their last error
    priority_exponent: float = 0.6  # α of prioritised replay
    importance_exponent: float = 0.4  # β of prioritised replay
    distribution: Literal["none", "categorical", "quantile"] = "none"  # whether to learn returns' distributions
    num_atoms: int = 51  # atoms or quantiles of a distribution
    min_value: float = -1.0  # lowest atom of a categorical distribution
    max_value: float = 1.0  # highest


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
    check_replay(require, config)
    require.numbers("target_period", "num_atoms", low=1)
    require.numbers("max_gradient_norm", above=0)
    require.numbers("epsilon", "priority_exponent", "importance_exponent", low=0, high=1)
    require.numbers("decay_steps", "epsilon_steps", low=0)
    require(config.distribution in ("none", "categorical", "quantile"), "distribution", "none, categorical or quantile")
    require(config.min_value < config.max_value, "min_value", f"less than max_value = {config.max_value}")


class Networks(NamedTuple):
    """The network, what its outputs mean, and its losses."""

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


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the network for an environment."""
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
    return Networks(nn.without_apply_rng(nn.transform(network)), atoms, config)


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    need_one_player("dqn", config, env.env)
    agent = networks(config, env.env)
    if config.prioritised:
        replay = PrioritisedReplay(config.replay_size, config.priority_exponent)
    else:
        replay = UniformReplay(config.replay_size)
    take = functools.partial(go_on, env, replay, config.discount)  # a step in every environment, and keeps it
    rate = config.learning_rate
    schedule = optim.cosine_decay_schedule(rate, config.decay_steps * config.updates) if config.decay_steps else rate
    optimiser = optim.chain(optim.clip_by_global_norm(config.max_gradient_norm), optim.adam(schedule))

    def epsilon(step: Array) -> Array:
        fraction = step / max(config.epsilon_steps, 1)
        return jnp.maximum(config.epsilon, 1.0 - fraction * (1.0 - config.epsilon))

    def interact(key: PRNGKeyArray, state: State, epsilon: Array | float) -> State:
        """Acts ε-greedily."""
        key_act, key_env = jax.random.split(key)
        s = env.observe(state.env)
        q = agent.q(agent.outputs(state.online, s))
        legal = env.legal_actions(state.env) if env.env.has_illegal_actions else None
        return take(key_env, state, s, rl.epsilon_greedy(epsilon).sample(key_act, q, mask=legal).astype(jnp.int32))

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env, key_warmup = jax.random.split(key, 4)
        env_state = env.reset(key_env)
        s = env.observe(env_state)
        online = agent.network.init(key_params, s)
        recent, empty = blank(env, key_env, env_state, replay, config.n_step, config.discount)
        state = State(key, jnp.int32(0), online, online, optimiser.init(online), env_state, recent, empty)
        explore = lambda state, key: interact(key, state, 1.0)
        return warm_up(explore, state, key_warmup, config.n_step, -(-config.warmup // config.num_envs))

    def learn(state: State, count: Array, key: PRNGKeyArray) -> tuple[State, dict[str, Any]]:
        """Takes a gradient step, the `count`-th."""
        sample = replay.sample(state.replay, key, config.batch_size)
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
        if config.target_rate:
            target = optim.incremental_update(online, state.target, config.target_rate)
        else:
            target = optim.periodic_update(online, state.target, count, config.target_period)
        if isinstance(replay, PrioritisedReplay):
            kept = replay.update_priorities(state.replay, sample.indices, errors + 1e-3)
            state = state._replace(replay=kept)
        metrics = {"loss": loss, "gradient_norm": optim.global_norm(grads)}
        return state._replace(online=online, target=target, opt=opt), metrics

    def step(state: State) -> tuple[State, dict[str, Any]]:
        key, key_interact, key_learn = jax.random.split(state.key, 3)
        ε = epsilon(state.step)
        state = interact(key_interact, state._replace(key=key), ε)
        if config.updates == 1:
            state, metrics = learn(state, state.step + 1, key_learn)
        else:
            U, P = config.updates, config.target_period
            counts = (state.step % P) * (U % P) + jnp.arange(1, U + 1)
            parts = (counts, jax.random.split(key_learn, U))
            state, metrics = jax.lax.scan(lambda state, part: learn(state, *part), state, parts)
            metrics = jax.tree.map(jnp.mean, metrics)
        metrics = {**episode_metrics(state.env), **metrics, "epsilon": ε}
        return state._replace(step=state.step + 1), metrics

    return init, step


# ---------------------------------------------------------------- what was learned


def _player(config: Config, env: envs.Environment) -> Player:
    agent = networks(config, env)

    def act(
        params: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
    ) -> tuple[Array, PyTree]:
        q = agent.q(agent.outputs(params, s))
        if key is not None:
            return rl.epsilon_greedy(config.epsilon).sample(key, q, mask=legal).astype(jnp.int32), memory
        q = q if legal is None else jnp.where(legal, q, -jnp.inf)
        return jnp.argmax(q, axis=-1).astype(jnp.int32), memory

    return Player(act)


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    def _make_player(self) -> Player:
        return _player(self.config, self.env)


def load(path: str | os.PathLike[str]) -> Agent:
    """Reads an agent from the directory of a run, or from a file that `renga export` or `Agent.save` wrote.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> config = Config(env="catch", units=(8,))
      >>> params = networks(config, envs.make("catch")).network.init(jax.random.key(0), jnp.zeros((1, 10, 5)))
      >>> file = tempfile.mkdtemp() + "/agent.safetensors"
      >>> Agent(config, params).save(file)
      >>> load(file).act(jnp.zeros((10, 5))) in (0, 1, 2)
      True
    """
    return Agent(*read(path, __name__, _learned))


def _learned(config: Config, state: State) -> PyTree:
    return state.online


def export(config: Config, state: State, path: str) -> None:
    """Writes the agent to a safetensors file, which `load` reads."""
    Agent(config, _learned(config, state)).save(path)


def evaluate(config: Config, state: State) -> dict[str, float]:
    """Plays 100 episodes with the greedy policy."""
    return judged(_player, config, _learned(config, state))
