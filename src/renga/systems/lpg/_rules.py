"""Update rules: what to make of a rollout. LPG's is learned, those of A2C and REINFORCE were found by hand."""

import abc
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from renga import nn, rl
from renga._core.values import static, value
from renga.systems.lpg._cells import CELLS
from renga.systems.lpg._experience import Inputs, Targets


class Rule(abc.ABC):
    """How an agent learns from a rollout.

    The agent has a policy π_θ and predictions y_θ(s), a vector whose meaning is the rule's affair. A rule turns a
    rollout into targets for both, and the agent then moves along

        Δθ ∝ E[∇_θ log π_θ(a|s) π̂ − α_y ∇_θ D(y_θ(s), ŷ) + β ∇_θ H(π_θ(s))]

    A rule is a value, and a function of its meta-parameters η: `rule(eta, inputs) -> targets`, for the T steps of one
    environment.
    """

    @property
    @abc.abstractmethod
    def prediction_size(self) -> int:
        """M, how many numbers y(s) has."""

    @property
    def entropy_bonus(self) -> Float[ArrayLike, ""]:
        """β, the weight of the policy's entropy in the agent's own update."""
        return 0.0

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draws meta-parameters η."""

    @abc.abstractmethod
    def __call__(self, eta: PyTree, inputs: Inputs) -> Targets:
        """Returns π̂ and ŷ for the T steps of one environment."""

    @abc.abstractmethod
    def divergence(self, y: Float[Array, "*B M"], y_hat: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        """Returns D(y, ŷ), how far predictions are from their targets."""


def _kl(y: Float[Array, "*B M"], y_hat: Float[Array, "*B M"]) -> Float[Array, "*B"]:
    """D_KL(softmax(y) ‖ ŷ)."""
    log_y = jax.nn.log_softmax(y)
    return jnp.sum(jnp.exp(log_y) * (log_y - jnp.log(jnp.maximum(y_hat, 1e-12))), axis=-1)


@value
class LPG(Rule):
    """The learned rule: a recurrent network that reads a rollout backwards in time.

        x_t = [r_t, d_t, γ, π(a_t|s_t), φ(y(s_t)), φ(y(s_{t+1}))]
        (π̂_t, ŷ_t) = U_η(x_t | x_{t+1}, …, x_T)

    The state is forgotten at the end of an episode; d_t and φ(y(s_{t+1})) are 0 where it ended, and kept where it was
    cut. Predictions are categorical distributions, and D is D_KL(y ‖ ŷ).

    Meta-parameters: `embed/~/linear_{0,1}` is φ; `gru` or `lstm` has `w_i`, `w_h` and `b`; `pi_hat` and `y_hat` are
    linear.

    Attributes:
      cell: the recurrent cell.
      units: its size.
      prediction_size: M.
      sees_discount: whether γ is an input.
      sees_lifetime: whether n/N and log N are (temporally aware LPG).
      bf16_products: whether the cell's products take their operands in bfloat16; what it carries keeps its dtype.

    Example:
      >>> rule = LPG(units=8, prediction_size=3)
      >>> eta = jax.jit(rule.init)(jax.random.key(0))
      >>> zeros, never = jnp.zeros(5), jnp.zeros(5, bool)
      >>> y = jnp.zeros((5, 3))
      >>> inputs = Inputs(zeros, never, never, zeros, y, y, jnp.float32(0.99), jnp.int32(0), jnp.int32(100))
      >>> targets = jax.jit(rule)(eta, inputs)
      >>> targets.pi_hat.shape, targets.y_hat.shape
      ((5,), (5, 3))

    References:
      Oh et al., "Discovering reinforcement learning algorithms", 2020, eq. 2 and section 3.1; Jackson et al.,
      "Discovering temporally-aware reinforcement learning algorithms", 2024.
    """

    cell: Literal["lstm", "gru"] = static(default="lstm")
    units: int = static(default=256)
    prediction_size: int = static(default=30)
    sees_discount: bool = static(default=True)
    sees_lifetime: bool = static(default=False)
    bf16_products: bool = static(default=False)

    def _network(self) -> nn.Transformed:
        def build(inputs: Inputs) -> Targets:
            phi = nn.nets.MLP([16, 1], name="embed")
            go_on = 1.0 - inputs.terminated_t
            columns = [
                inputs.r_t,
                go_on,
                jnp.exp(inputs.log_pi),
                phi(jax.nn.softmax(inputs.y_tm1))[:, 0],
                phi(jax.nn.softmax(inputs.y_t))[:, 0] * go_on,
            ]
            if self.sees_discount:
                columns.append(jnp.full_like(inputs.r_t, inputs.discount))
            if self.sees_lifetime:
                columns.append(jnp.full_like(inputs.r_t, inputs.update / inputs.lifetime))
                columns.append(jnp.full_like(inputs.r_t, jnp.log(inputs.lifetime.astype(inputs.r_t.dtype))))
            core = nn.ResetCore(CELLS[self.cell](self.units, self.bf16_products))
            x = (jnp.stack(columns, axis=-1), inputs.last_t)
            h, _ = nn.dynamic_unroll(core, x, core.initial_state(None), reverse=True)
            small = nn.initializers.VarianceScaling(0.01)  # agents begin to learn as the rule does
            pi_hat = nn.Linear(1, w_init=small, name="pi_hat")(h)[:, 0]
            return Targets(pi_hat, jax.nn.softmax(nn.Linear(self.prediction_size, name="y_hat")(h)))

        return nn.without_apply_rng(nn.transform(build))

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draws the network's parameters."""
        zeros, never, y = jnp.zeros(1), jnp.zeros(1, bool), jnp.zeros((1, self.prediction_size))
        inputs = Inputs(zeros, never, never, zeros, y, y, jnp.zeros(()), jnp.int32(0), jnp.int32(1))
        return self._network().init(key, inputs)

    def __call__(self, eta: PyTree, inputs: Inputs) -> Targets:
        """Reads a rollout backwards."""
        return self._network().apply(eta, inputs)

    def divergence(self, y: Float[Array, "*B M"], y_hat: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        """D_KL(softmax(y) ‖ ŷ)."""
        return _kl(y, y_hat)


@value
class A2C(Rule):
    """Advantage actor-critic as a rule: y is the value, π̂ the advantage, ŷ the λ-return.

        δ_t = r_t + γ y(s_{t+1}) − y(s_t),   π̂_t = δ_t + γ λ π̂_{t+1},   ŷ_t = π̂_t + y(s_t)

    D is ½ (y − ŷ)². There is nothing to learn: η is empty.

    Attributes:
      trace_decay: λ.
      entropy_bonus: weight of the policy's entropy.

    References:
      Mnih et al., "Asynchronous methods for deep reinforcement learning", 2016, section 4.
    """

    trace_decay: Float[ArrayLike, "*S"] = 0.95
    entropy_bonus: Float[ArrayLike, "*S"] = 0.01

    @property
    def prediction_size(self) -> int:
        """One: the value."""
        return 1

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Nothing."""
        return ()

    def __call__(self, eta: PyTree, inputs: Inputs) -> Targets:
        """Returns advantages and λ-returns; they are constants to any gradient."""
        v_tm1, v_t = jax.lax.stop_gradient((inputs.y_tm1[:, 0], inputs.y_t[:, 0]))
        advantages = advantage(
            inputs.r_t, inputs.terminated_t, inputs.last_t, v_tm1, v_t, inputs.discount, self.trace_decay
        )
        return Targets(advantages, (advantages + v_tm1)[:, None])

    def divergence(self, y: Float[Array, "*B M"], y_hat: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        """½ (y − ŷ)²."""
        return 0.5 * jnp.sum((y - y_hat) ** 2, axis=-1)


@value
class REINFORCE(Rule):
    """REINFORCE as a rule: π̂ is the discounted return to the end of the episode or of the rollout. y says nothing.

    Attributes:
      entropy_bonus: weight of the policy's entropy.

    References:
      Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992.
    """

    entropy_bonus: Float[ArrayLike, "*S"] = 0.0

    @property
    def prediction_size(self) -> int:
        """One, which stays as it is."""
        return 1

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Nothing."""
        return ()

    def __call__(self, eta: PyTree, inputs: Inputs) -> Targets:
        """Returns the returns."""
        zeros = jnp.zeros_like(inputs.r_t)
        returns = advantage(inputs.r_t, inputs.last_t, inputs.last_t, zeros, zeros, inputs.discount, 1.0)
        return Targets(returns, jnp.zeros_like(inputs.y_tm1))

    def divergence(self, y: Float[Array, "*B M"], y_hat: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        """0: nothing is asked of the predictions."""
        return jnp.zeros(y.shape[:-1], y.dtype)


def advantage(
    r_t: Array,
    terminated_t: Array,
    last_t: Array,
    v_tm1: Array,
    v_t: Array,
    discount: ArrayLike,
    trace_decay: ArrayLike,
) -> Float[Array, " T"]:
    """Returns A_t = Σ_k (γλ)^k δ_{t+k} up to the end of the episode or of the rollout.

    δ_t = r_t + γ v(s_t) − v(s_tm1) keeps the value of s_t where the episode was cut, and loses it where it ended.
    """
    discount_t = discount * (1.0 - terminated_t)
    values = jnp.append(v_tm1, v_t[-1])
    cut = last_t & ~terminated_t
    return rl.truncated_generalized_advantage_estimation(
        r_t, discount_t, trace_decay, values, truncation_t=cut, bootstrap_t=v_t
    )
