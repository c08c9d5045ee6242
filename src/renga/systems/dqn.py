"""DQN: Q-learning from replay with a target network, and its extensions, each as an argument.

One file, top to bottom in the order data flows: Config, State, network, acting, loss, step.

Differs from Mnih et al. 2015 (https://www.nature.com/articles/nature14236):
  * Adam in place of RMSProp, with a learning rate that decays to zero;
  * environments are batched and step inside the compiled update: `updates` gradient steps per `num_envs` frames;
  * the target network is copied every `target_period` gradient steps, or is a Polyak average (`target_rate`).

Options: double (van Hasselt et al. 2016), dueling (Wang et al. 2016), n-step returns, prioritised replay (Schaul et al.
2016), categorical (Bellemare et al. 2017), quantile (Dabney et al. 2018a) and implicit quantile (Dabney et al. 2018b)
value distributions, noisy layers (Fortunato et al. 2018), the log-policy as a reward (Munchausen; Vieillard et al.
2020), rescaled values (Pohlen et al. 2018), and recurrent networks, learned from sequences (R2D2; Kapturowski et al.
2019), random actions that are repeated (ε_z-greedy; Dabney et al. 2021). `--preset rainbow` is Rainbow (Hessel et al.
2018). Differs from these papers:

  * parameter noise is sampled for each environment and each example, not once for all of them;
  * IQN selects actions by the mean over equally spaced levels, where the paper samples levels;
  * the log-policy is added to the first of n rewards only: that of later steps is of a policy that has changed;
  * a sequence may begin at any step: the recurrent state is stored with each;
  * a random action is repeated until its episode ends at the latest.
"""

import dataclasses
import functools
import types
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga.data import PrioritisedReplay, PrioritisedSequenceReplay, UniformReplay, importance_weights
from renga.loop import check_config
from renga.systems import _exploration, _memory, _q_losses, _stretches
from renga.systems._agent import Player, TrainedAgent, functions_of
from renga.systems._memory import Memory
from renga.systems._noisy import NoisyLinear
from renga.systems._reinforcement import (
    Outputs,
    Recent,
    Transition,
    batch_gradient,
    blank,
    check_replay,
    check_world,
    encoded,
    episode_metrics,
    features,
    go_on,
    legal_now,
    legal_only,
    need_discrete,
    warm_up,
)

__all__ = [
    "PRESETS",
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

    env: str = "catch"  # a name of `renga list --envs`, or MODULE:NAME
    num_envs: int = 8  # environments stepped in parallel
    updates: int = 1  # gradient steps after each step of the environments; for each transition, updates / num_envs
    replay_size: int = 100_000  # capacity of the replay buffer, in transitions
    warmup: int = 5_000  # transitions of a random policy before learning starts
    batch_size: int = 128  # transitions per gradient step
    units: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    learning_rate: float = 1e-3
    decay_steps: int = STEPS  # steps over which the learning rate decays to zero, cosine schedule; 0: constant
    max_gradient_norm: float = 10.0
    discount: float = 0.99  # γ
    n_step: int = 20  # rewards in an n-step return
    epsilon: float = 0.01  # final ε of the ε-greedy behaviour policy
    epsilon_steps: int = 5_000  # steps over which ε decays from 1
    repeat_exponent: float = 0.0  # μ: a random action is taken n times in a row, P(n) ∝ n^−μ (ε_z-greedy); 0: once
    target_period: int = 50  # gradient steps between copies of the online network into the target network
    target_rate: float = 0.0  # τ of a Polyak average as the target network; 0: periodic copies
    double: bool = True  # double Q-learning: select with the online network, evaluate with the target
    dueling: bool = True  # separate streams for state value and advantages
    prioritised: bool = True  # prioritised replay, by the last TD error
    priority_exponent: float = 0.6  # α of prioritised replay
    importance_exponent: float = 0.4  # β of prioritised replay
    distribution: Literal["none", "categorical", "quantile", "implicit"] = "none"  # of returns: C51, QR-DQN or IQN
    num_atoms: int = 51  # atoms or quantiles (categorical, quantile)
    min_value: float = -1.0  # lowest atom (categorical)
    max_value: float = 1.0  # highest atom (categorical)
    num_levels: int = 32  # N, quantile levels sampled for the prediction (implicit)
    num_target_levels: int = 32  # N′, quantile levels sampled for the target (implicit)
    num_greedy_levels: int = 32  # K, equally spaced levels whose mean selects an action (implicit)
    num_cosines: int = 64  # cosine features of a level (implicit)
    noisy: float = 0.0  # σ₀ of parameter noise, in all layers after the convolution or embedding; 0: none
    munchausen: float = 0.0  # α, weight of the scaled log-policy in the reward; 0: none
    munchausen_temperature: float = 0.03  # τ of the softmax policy (munchausen)
    munchausen_clip: float = -1.0  # lower bound of τ log π (munchausen)
    rescale: bool = False  # learn h(q) = sign(q) (√(|q| + 1) − 1) + q/1000
    memory: Memory = "none"  # recurrent core of the network
    memory_units: int = 64
    trace_length: int = 20  # steps of a sequence with a loss (memory); batch_size then counts sequences
    burn_in: int = 5  # steps before them that only warm up the recurrent state (memory)
    peak: float = 0.9  # η: the priority of a sequence is η max |δ| + (1 − η) mean |δ| (memory)


PRESETS: dict[str, tuple[Config, int]] = {
    "rainbow": (
        Config(noisy=0.5, epsilon=0.0, epsilon_steps=0, distribution="categorical", n_step=3, priority_exponent=0.5),
        STEPS,
    ),
    "munchausen": (Config(munchausen=0.9, n_step=1, double=False, prioritised=False), STEPS),
    "iqn": (Config(distribution="implicit", n_step=3), STEPS),
    "acrobot": (Config(env="acrobot", n_step=5, target_period=200, decay_steps=30_000), 30_000),
    "mountain_car": (
        Config(
            env="mountain_car", updates=2, decay_steps=0, n_step=5, epsilon=0.05, epsilon_steps=3_000,
            repeat_exponent=2.0, target_period=200, dueling=False, prioritised=False,
        ),
        STEPS,
    ),
    "r2d2": (Config(env="memory_chain", memory="lstm", rescale=True, n_step=5), STEPS),
}  # fmt: skip


class State(NamedTuple):
    """All that training needs to go on: saving this is a checkpoint."""

    # Axes of the batch, of which each device has a part.
    split = types.MappingProxyType({"env": 0, "recent": 1, "memory": 0, "first": 0, "repeated": 0})

    key: PRNGKeyArray
    step: Array
    online: PyTree
    target: PyTree
    opt: PyTree
    env: envs.Running
    recent: Recent | None
    replay: PyTree
    memory: PyTree = ()  # what is remembered in each environment
    first: Array | None = None  # whether an episode begins there; None without a memory
    repeated: _exploration.Repeated | None = None  # random actions that last; None without


def _check(config: Config) -> None:
    require = check_config("dqn", config)
    check_replay(require, config)
    require.numbers("target_period", "num_atoms", low=1)
    require.numbers("num_levels", "num_target_levels", "num_greedy_levels", "num_cosines", low=1)
    require.numbers("max_gradient_norm", "munchausen_temperature", above=0)
    require.numbers("epsilon", "priority_exponent", "importance_exponent", "munchausen", "peak", low=0, high=1)
    require.numbers("target_rate", low=0, high=1)
    require.numbers("decay_steps", "epsilon_steps", "noisy", "burn_in", "repeat_exponent", low=0)
    require.numbers("munchausen_clip", high=0)
    require.numbers("memory_units", "trace_length", low=1)
    kinds = ("none", "categorical", "quantile", "implicit")
    require(config.distribution in kinds, "distribution", "none, categorical, quantile or implicit")
    require(config.min_value < config.max_value, "min_value", f"less than max_value = {config.max_value}")
    values = not config.rescale or (config.distribution == "none" and not config.munchausen)
    require(values, "rescale", "False where distributions or the log-policy are learned")
    require(config.memory in _memory.NAMES, "memory", "none, lstm, gru or rnn")
    if config.memory != "none":
        least = config.num_envs * _stretches.length(config)
        why = f"at least num_envs · (burn_in + trace_length + 1) = {least} with a memory"
        require(config.warmup >= least, "warmup", why)


class Networks(NamedTuple):
    """The network, what its outputs mean, and its losses."""

    network: nn.Transformed
    atoms: Array  # [K]: values of the atoms of a categorical distribution, or [1]
    config: Config
    initial_memory: Any  # of how many environments -> what is remembered

    def outputs(
        self, params: PyTree, s: Array, noise: PRNGKeyArray | None = None, levels: Array | None = None
    ) -> Float[Array, "B A K"]:
        """Returns values, logits of atoms, or quantiles, at even levels if none are given."""
        return self.network.apply(params, s, None, (), noise, levels)[0]

    def unroll(
        self, params: PyTree, s: Array, first: Array, memory: PyTree, noise: PRNGKeyArray | None, levels: Array | None
    ) -> tuple[Float[Array, "T B A K"], PyTree]:
        """Returns the outputs of a network with a memory, and what it remembers after each step."""
        return self.network.apply(params, s, first, memory, noise, levels)

    def q(self, outputs: Float[Array, "*B A K"]) -> Float[Array, "*B A"]:
        """Returns the expected return of each action."""
        return _q_losses.q(self.config, self.atoms, outputs)

    def noise(self, key: PRNGKeyArray | None) -> PRNGKeyArray | None:
        """A key of its own for noise, if there is any."""
        return jax.random.fold_in(key, 1) if self.config.noisy and key is not None else None

    def levels(self, key: PRNGKeyArray | None, shape: tuple[int, ...]) -> Float[Array, "*B K"] | None:
        """Draws levels, if quantiles are implicit; without a key there are even ones."""
        if self.config.distribution != "implicit" or key is None:
            return None
        return jax.random.uniform(jax.random.fold_in(key, 2), shape, jnp.float32)

    def losses(
        self, online: PyTree, target: PyTree, batch: Transition, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        """Returns the loss of each transition, and the size of its error; without a key no noise, and even levels."""
        config, B = self.config, len(batch.r_t)
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        levels = self.levels(keys[0], (B, config.num_levels))
        out_t = self.outputs(
            target, batch.s_t, self.noise(keys[1]), self.levels(keys[1], (B, config.num_target_levels))
        )
        outputs = Outputs(
            self.outputs(online, batch.s_tm1, self.noise(keys[0]), levels),
            out_t,
            self.outputs(online, batch.s_t, self.noise(keys[2])) if config.double else out_t,
            levels,
            self.outputs(target, batch.s_tm1) if config.munchausen else None,
        )
        return _q_losses.errors(config, self.atoms, outputs, batch)


def networks(config: Config, env: envs.Environment) -> Networks:
    """Makes the network for an environment."""
    num_actions, spec, memory = envs.num_actions(env), env.observation_spec, config.memory
    implicit = config.distribution == "implicit"
    num_outputs = 1 if implicit or config.distribution == "none" else config.num_atoms

    def network(
        s: Array,
        first: Array | None = None,
        memory_tm1: PyTree = (),
        noise: PRNGKeyArray | None = None,
        levels: Array | None = None,
    ) -> tuple[Array, PyTree]:
        """Observations `[B, ...]`, or `[T, B, ...]` with a memory, which is that before the first step."""
        drawn = iter(jax.random.split(noise, len(config.units) + 2)) if noise is not None else None

        def dense(x: Array, size: int, name: str | None = None) -> Array:
            if config.noisy:
                return NoisyLinear(size, config.noisy, name)(x, None if drawn is None else next(drawn))
            return nn.Linear(size, name=name)(x)

        def layers(x: Array, sizes: tuple[int, ...]) -> Array:
            for size in sizes:
                x = jax.nn.relu(dense(x, size))
            return x

        lead = s.shape[: s.ndim - len(spec.shape)]
        s = s.reshape(-1, *spec.shape)
        # What comes before quantiles are told apart, and after.
        split = -1 if implicit and len(config.units) > 1 else len(config.units)
        units, rest = config.units[:split], config.units[split:]
        if config.noisy:
            x = layers(encoded(spec, units[0], s), units[isinstance(spec, envs.Discrete) :])
        else:
            x = features(spec, units, s)
        memory_t = ()
        if memory != "none":
            core = _memory.core(memory, config.memory_units)
            x, memory_t = nn.dynamic_unroll(core, (x.reshape(*lead, -1), first), memory_tm1, return_all_states=True)
            x = x.reshape(-1, config.memory_units)
        if implicit:
            levels = _q_losses.even_levels(config.num_greedy_levels) if levels is None else levels
            levels = jnp.broadcast_to(levels, (*lead, levels.shape[-1])).reshape(len(x), -1, 1)
            cosines = jnp.cos(np.pi * levels * jnp.arange(config.num_cosines, dtype=levels.dtype)[None, None, :])
            x = layers(x[:, None, :] * jax.nn.relu(nn.Linear(x.shape[-1], name="levels")(cosines)), rest)
        # [B, A·K], or [B, K, A] if implicit.
        out = dense(x, num_actions * num_outputs, "advantage" if config.dueling else "values")
        value = dense(x, num_outputs, "value") if config.dueling else None
        out = jnp.swapaxes(out, 1, 2) if implicit else out.reshape(-1, num_actions, num_outputs)
        if value is not None:
            value = jnp.swapaxes(value, 1, 2) if implicit else value[:, None, :]
            out = value + out - jnp.mean(out, axis=1, keepdims=True)
        return out.reshape(*lead, num_actions, -1), memory_t

    atoms = jnp.linspace(config.min_value, config.max_value, num_outputs)
    fresh = _memory.initial(memory, config.memory_units)
    return Networks(nn.without_apply_rng(nn.transform(network)), atoms, config, fresh)


def make(config: Config):
    """Returns pure `init(key) -> state` and `step(state) -> (state, metrics)`."""
    _check(config)
    env = envs.Batch(envs.make(config.env), config.num_envs)
    check_world("dqn", config, env.env)
    need_discrete("dqn", config, env.env)
    agent = networks(config, env.env)
    exponent = config.priority_exponent if config.prioritised else 0.0
    if config.memory != "none":
        replay = PrioritisedSequenceReplay(config.replay_size // config.num_envs, _stretches.length(config), exponent)
    elif config.prioritised:
        replay = PrioritisedReplay(config.replay_size, exponent)
    else:
        replay = UniformReplay(config.replay_size)
    rate = config.learning_rate
    schedule = optim.cosine_decay_schedule(rate, config.decay_steps * config.updates) if config.decay_steps else rate
    optimiser = optim.chain(optim.clip_by_global_norm(config.max_gradient_norm), optim.adam(schedule))

    def epsilon(step: Array) -> Array:
        fraction = step / max(config.epsilon_steps, 1)
        return jnp.maximum(config.epsilon, 1.0 - fraction * (1.0 - config.epsilon))

    def interact(key: PRNGKeyArray, state: State, epsilon: Array | float) -> State:
        """Acts ε-greedily, and keeps what comes of it."""
        key_act, key_env = jax.random.split(key)
        s, noise = env.observe(state.env), agent.noise(key_act)
        legal = legal_now(env, state.env)
        in_stretches = isinstance(replay, PrioritisedSequenceReplay)
        if in_stretches:
            out, memory = _act(agent, state.online, s, state.first, state.memory, noise)
        else:
            out, memory = agent.outputs(state.online, s, noise), ()
        q = agent.q(out)
        if state.repeated is None:
            a = rl.epsilon_greedy(epsilon).sample(key_act, q, mask=legal).astype(jnp.int32)
        else:
            first = state.first if state.recent is None else state.recent.step.last[-1]
            # pyrefly: ignore[bad-argument-type]
            a, repeated = _exploration.act(key_act, q, legal, epsilon, config.repeat_exponent, state.repeated, first)
            state = state._replace(repeated=repeated)
        if in_stretches:
            return _stretches.go_on(env, replay, key_env, state, s, a, memory)
        return go_on(env, replay, config.discount, key_env, state, s, a)

    def init(key: PRNGKeyArray) -> State:
        key, key_params, key_env, key_warmup = jax.random.split(key, 4)
        env_state = env.reset(key_env)
        s = env.observe(env_state)
        num_steps = -(-config.warmup // config.num_envs)
        explore = lambda state, key: interact(key, state, 1.0)
        repeated = _exploration.Repeated.of(config.num_envs) if config.repeat_exponent else None
        if isinstance(replay, PrioritisedSequenceReplay):
            memory, first = agent.initial_memory(config.num_envs), jnp.ones(config.num_envs, bool)
            online = agent.network.init(key_params, s[None], first[None], memory)
            empty = _stretches.blank(env, key_env, env_state, replay, memory)
            opt = optimiser.init(online)
            state = State(key, jnp.int32(0), online, online, opt, env_state, None, empty, memory, first, repeated)
            return _stretches.warm_up(explore, state, key_warmup, num_steps)
        online = agent.network.init(key_params, s)
        recent, empty = blank(env, key_env, env_state, replay, config.n_step, config.discount)
        state = State(key, jnp.int32(0), online, online, optimiser.init(online), env_state, recent, empty)
        state = state._replace(repeated=repeated)
        return warm_up(explore, state, key_warmup, config.n_step, num_steps)

    def learn(state: State, count: Array, key: PRNGKeyArray) -> tuple[State, dict[str, Any]]:
        """Takes a gradient step, the `count`-th."""
        sample = replay.sample(state.replay, key, config.batch_size)
        # What is random in the loss, a device draws with the first key of its part.
        keys = jax.random.split(jax.random.fold_in(key, 1), config.batch_size)
        in_stretches = isinstance(replay, PrioritisedSequenceReplay)
        weights = jnp.ones(config.batch_size)
        if config.prioritised:
            size = replay.num_sequences(state.replay) if in_stretches else replay.size(state.replay)
            weights = importance_weights(sample.probabilities, size, config.importance_exponent)

        def loss_fn(online: PyTree, part: PyTree, target: PyTree) -> tuple[Array, Array]:
            items, weights, keys = part
            of = functools.partial(_stretches.losses, agent) if in_stretches else agent.losses
            losses, errors = of(online, target, items, keys[0])
            return jnp.mean(weights * losses), errors

        part = (sample.items, weights, keys)
        (loss, errors), grads = batch_gradient(loss_fn, each=True)(state.online, part, state.target)
        updates, opt = optimiser.update(grads, state.opt, state.online)
        online = optim.apply_updates(state.online, updates)
        if config.target_rate:
            target = optim.incremental_update(online, state.target, config.target_rate)
        else:
            target = optim.periodic_update(online, state.target, count, config.target_period)
        if config.prioritised and not isinstance(replay, UniformReplay):
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


def _act(
    agent: Networks, params: PyTree, s: Array, first: Array | None, memory: PyTree, noise: PRNGKeyArray | None
) -> tuple[Float[Array, "B A K"], PyTree]:
    """One step of a network with a memory: its outputs, and what it remembers after."""
    first = jnp.zeros(len(s), bool) if first is None else first
    out, memory = agent.unroll(params, s[None], first[None], memory, noise, None)
    return out[0], jax.tree.map(lambda x: x[0], memory)


class Agent(TrainedAgent):
    """A trained agent: see `load`."""

    @staticmethod
    def learned(config: Config, state: State) -> PyTree:
        """The parameters of the online network."""
        return state.online

    @staticmethod
    def player(config: Config, env: envs.Environment) -> Player:
        """The best action; with a key, ε-greedily and with noise."""
        agent = networks(config, env)

        def act(
            params: PyTree, key: PRNGKeyArray | None, s: Array, legal: Array | None, memory: PyTree
        ) -> tuple[Array, PyTree]:
            noise = agent.noise(key)
            if config.memory == "none":
                out = agent.outputs(params, s, noise)
            else:
                out, memory = _act(agent, params, s, None, memory, noise)
            q = agent.q(out)
            if key is not None:
                return rl.epsilon_greedy(config.epsilon).sample(key, q, mask=legal).astype(jnp.int32), memory
            return jnp.argmax(legal_only(q, legal), axis=-1).astype(jnp.int32), memory

        return Player(act, agent.initial_memory)


load, export, evaluate = functions_of(Agent)
