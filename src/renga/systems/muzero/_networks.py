"""The networks: representation h, dynamics g, prediction f; afterstates and codes of chance; projections."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from renga import envs, nn, rl
from renga.systems._continuous import action_box
from renga.systems._reinforcement import as_floats, flat
from renga.systems.muzero._config import Config, has_codes
from renga.systems.muzero._sampled import Sampled


class Prediction(NamedTuple):
    """What f says of a state.

    Attributes:
      logits: of the policy, [B, A]; where actions are continuous two parameters of each number's, [B, D, 2].
      value_logits: of the value's bins, [B, K].
      value: v, from the view of the player to move, [B].
    """

    logits: Float[Array, "B ..."]
    value_logits: Float[Array, "B K"]
    value: Float[Array, " B"]


class Transition(NamedTuple):
    """What g says of a move.

    Attributes:
      state: the state that it leads to.
      reward_logits: of the reward's bins, [B, K].
      reward: r, from the view of the player who moved, [B].
      turn_logit: log odds that the next move is another player's, [B].
    """

    state: Float[Array, "B ..."]
    reward_logits: Float[Array, "B K"]
    reward: Float[Array, " B"]
    turn_logit: Float[Array, " B"]


class AfterstatePrediction(NamedTuple):
    """What ψ says of an afterstate.

    Attributes:
      value_logits: of the value's bins, [B, K].
      value: what the action that led to it is worth to the player who moved, discounted, [B]: with its reward where the
        afterstate is learned, beyond its reward where it is the environment's.
      chance_logits: σ, of the codes of chance that may follow, [B, M]; None where the environment lists outcomes.
    """

    value_logits: Float[Array, "B K"]
    value: Float[Array, " B"]
    chance_logits: Float[Array, "B M"] | None = None


class Networks(NamedTuple):
    """All networks as pure functions of one tree of parameters.

    Attributes:
      init: key, observations → parameters.
      represent: h(parameters, observations) → states.
      dynamics: g(parameters, states, actions) → `Transition`; with codes of chance g(parameters, afterstates, codes).
      predict: f(parameters, states) → `Prediction`.
      decide: φ(parameters, states, actions) → afterstates, where codes of chance follow.
      encode: (parameters, observations) → logits of the codes of the chance that led there, [B, M].
      judge_afterstate: ψ(parameters, afterstates) → `AfterstatePrediction`.
      project: (parameters, states) → vectors to compare.
      foresee: (parameters, such vectors) → what they should be like.
      code: values and rewards as distributions over bins.
      num_actions: how many a state has to choose from.
      sampled: policies over actions that are continuous; else None.
    """

    init: Callable[[PRNGKeyArray, Array], PyTree]
    represent: Callable[[PyTree, Array], Array]
    dynamics: Callable[[PyTree, Array, Array], Transition]
    predict: Callable[[PyTree, Array], Prediction]
    decide: Callable[[PyTree, Array, Array], Array]
    encode: Callable[[PyTree, Array], Array]
    judge_afterstate: Callable[[PyTree, Array], AfterstatePrediction]
    project: Callable[[PyTree, Array], Array]
    foresee: Callable[[PyTree, Array], Array]
    code: rl.TwoHot
    num_actions: int
    sampled: Sampled | None

    def log_probs(self, logits: Array, candidates: Array | None) -> Float[Array, "B A"]:
        """Log π of every action, or of the candidates where actions are continuous."""
        if self.sampled is None or candidates is None:
            return jax.nn.log_softmax(logits)
        return self.sampled.log_prob(jnp.broadcast_to(logits[:, None], (*candidates.shape, 2)), candidates)


def value_code(config: Config) -> rl.TwoHot:
    """How values and rewards are told."""
    transform = rl.SIGNED_HYPERBOLIC_PAIR if config.value_transform == "hyperbolic" else rl.IDENTITY_PAIR
    return rl.TwoHot(jnp.linspace(config.min_value, config.max_value, config.value_bins), transform)


def make(config: Config, env: envs.Environment) -> Networks:
    """Makes the networks for an environment."""
    spec, sampled = env.observation_spec, None
    if isinstance(env.action_spec, envs.Discrete):
        num_actions = envs.num_actions(env)
    else:
        num_actions = config.sampled_actions
        sampled = Sampled(action_box("muzero", config, env), num_actions, round(config.even_share * num_actions))
    code = value_code(config)
    learned = config.model == "learned"
    dtype = jnp.bfloat16 if config.bf16 else jnp.float32
    conv = config.tower == "conv"

    def norm(x: Array) -> Array:
        """Each example by itself, so that a batch of one acts as one of a thousand."""
        return nn.LayerNorm(-1, True, True)(x)

    def layer(x: Array, units: int | None = None, **options: Any) -> Array:
        units = config.units if units is None else units
        make_layer = nn.Conv2D(units, 3, **options) if conv else nn.Linear(units, **options)
        return make_layer(x)

    def block(x: Array) -> Array:
        y = layer(jax.nn.relu(norm(x)), with_bias=False)
        return x + layer(jax.nn.relu(norm(y)), w_init=nn.initializers.VarianceScaling(0.1))

    def tower(x: Array, name: str) -> Array:
        with nn.name_scope(name):
            x = layer(x.astype(dtype))
            for _ in range(config.blocks):
                x = block(x)
            return norm(x)

    def rescaled(x: Array) -> Array:
        """Each state to [0, 1]."""
        rows = x.reshape(x.shape[0], -1)
        # By index: the gradient of a minimum asks which number equals it, which is none if the compiler rounds twice.
        pick = lambda i: jnp.take_along_axis(rows, i, axis=1)
        low, high = pick(jnp.argmin(rows, 1, keepdims=True)), pick(jnp.argmax(rows, 1, keepdims=True))
        return ((rows - low) / jnp.maximum(high - low, 1e-5)).reshape(x.shape)

    def head(x: Array, size: int, name: str, **options: Any) -> Array:
        with nn.name_scope(name):
            if conv:  # few channels, then all places at once
                x = jax.nn.relu(norm(nn.Conv2D(8, 1)(x)))
            x = nn.Flatten()(x)
            x = jax.nn.relu(norm(nn.Linear(config.units)(x)))
            out = nn.Linear(size, w_init=nn.initializers.VarianceScaling(0.01), **options)(x)
            return out.astype(jnp.float32)

    def observed(s: Array) -> Array:
        if isinstance(spec, envs.Discrete):
            return flat(jax.nn.one_hot(s, spec.num))
        x = as_floats(spec, s).astype(dtype)
        return x.reshape(*x.shape[:3], -1) if conv else flat(x)

    def represent(s: Array) -> Array:
        x = tower(observed(s), "representation")
        return rescaled(x).astype(jnp.float32) if learned else x.astype(jnp.float32)

    def beside(h: Array, a: Array) -> Array:
        """States with the action, or the code of chance, that follows."""
        x = a if sampled is not None or a.ndim == 2 else _one_hot(a, h, num_actions)
        return jnp.concatenate([h, _everywhere(x, h) if x.ndim == 2 else x], -1)

    def decide(h: Array, a: Array) -> Array:
        return rescaled(tower(beside(h, a), "afterstate_dynamics")).astype(jnp.float32)

    def encode(s: Array) -> Array:
        return head(tower(observed(s), "encoder"), config.codes, "code")

    def dynamics(h: Array, a: Array) -> Transition:
        x = tower(beside(h, a), "dynamics")
        r = head(x, config.value_bins, "reward")
        # Turns alternate until something else is learned.
        turn = head(x, 1, "turn", b_init=nn.initializers.Constant(3.0))[:, 0]
        return Transition(rescaled(x).astype(jnp.float32), r, code.decode(jax.nn.softmax(r)), turn)

    def predict(h: Array) -> Prediction:
        x = h.astype(dtype)
        size = num_actions if sampled is None else 2 * sampled.box.size
        logits, v = head(x, size, "policy"), head(x, config.value_bins, "value")
        logits = logits if sampled is None else logits.reshape(-1, sampled.box.size, 2)
        return Prediction(logits, v, code.decode(jax.nn.softmax(v)))

    def judge_afterstate(h: Array) -> AfterstatePrediction:
        x = h.astype(dtype)
        v = head(x, config.value_bins, "afterstate")
        chances = head(x, config.codes, "chance") if has_codes(config) else None
        return AfterstatePrediction(v, code.decode(jax.nn.softmax(v)), chances)

    def project(h: Array) -> Array:
        with nn.name_scope("projection"):
            return nn.nets.MLP([config.units, config.units])(nn.Flatten()(h))

    def foresee(x: Array) -> Array:
        with nn.name_scope("foresight"):
            return nn.nets.MLP([config.units, config.units])(x)

    def build():
        def initialise(s: Array):
            h = represent(s)
            out = predict(h)
            if config.chance and not learned:
                judge_afterstate(h)
            if learned:
                a = jnp.zeros(len(s), jnp.int32) if sampled is None else jnp.zeros((len(s), sampled.box.size))
                if config.chance:
                    h, a = decide(h, a), encode(s)
                    judge_afterstate(h)
                h = dynamics(h, a).state
                if config.consistency_cost:
                    foresee(project(h))
            return out

        return initialise, (represent, dynamics, predict, decide, encode, judge_afterstate, project, foresee)

    f = nn.without_apply_rng(nn.multi_transform(build))
    return Networks(f.init, *f.apply, code=code, num_actions=num_actions, sampled=sampled)


def _one_hot(a: Int[Array, " B"], h: Array, num_actions: int) -> Array:
    """Actions as one-hot vectors; where they are places of a board, as a plane of it."""
    one_hot = jax.nn.one_hot(a, num_actions, dtype=h.dtype)
    places = 0 if h.ndim == 2 else h.shape[1] * h.shape[2]
    if places and num_actions in (places, places + 1):  # a place each, and perhaps a pass: an empty plane
        return one_hot[:, :places].reshape(*h.shape[:3], 1)
    return one_hot


def _everywhere(x: Float[Array, "B C"], h: Array) -> Array:
    """Vectors that fit beside a state: at each place of a board, or as they are."""
    return x if h.ndim == 2 else jnp.broadcast_to(x[:, None, None], (*h.shape[:3], x.shape[-1]))
