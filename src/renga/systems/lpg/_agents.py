"""Agents: a table for observations that are numbers, a network for the rest. And critics, of the same two kinds."""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from renga import envs, nn, optim, rl
from renga._core.values import static, value


class Network(abc.ABC):
    """An agent's function of an observation: a policy and predictions. `init(key)` draws its parameters θ."""

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draws parameters θ."""

    @abc.abstractmethod
    def __call__(self, params: PyTree, s: Array) -> tuple[Float[Array, " A"], Float[Array, " M"]]:
        """Returns logits of the policy and predictions, of one observation."""


@value
class Table(Network):
    """One row a state, looked up by its number: no one-hot vector is ever made.

    Parameters: `table`, `[S, A + M]`, zeros at first.

    Attributes:
      num_states: S.
      num_actions: A.
      prediction_size: M.
    """

    num_states: int = static()
    num_actions: int = static()
    prediction_size: int = static()

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Zeros."""
        return {"table": jnp.zeros((self.num_states, self.num_actions + self.prediction_size))}

    def __call__(self, params: PyTree, s: Array) -> tuple[Float[Array, " A"], Float[Array, " M"]]:
        """Looks a state up."""
        row = params["table"][s]
        return row[: self.num_actions], row[self.num_actions :]


@value
class Perceptron(Network):
    """A multi-layer perceptron of the flattened observation, with two linear heads.

    Attributes:
      observation: what observations are.
      num_actions: A.
      prediction_size: M.
      units: of the hidden layers.
    """

    observation: envs.Box = static()
    num_actions: int = static()
    prediction_size: int = static()
    units: tuple[int, ...] = static(default=(32,))

    def _network(self) -> nn.Transformed:
        def build(s: Array) -> tuple[Array, Array]:
            x = nn.nets.MLP(self.units, activate_final=True)(s.reshape(-1))
            small = nn.initializers.VarianceScaling(0.01)
            logits = nn.Linear(self.num_actions, w_init=small, name="policy")(x)
            return logits, nn.Linear(self.prediction_size, name="predictions")(x)

        return nn.without_apply_rng(nn.transform(build))

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draws the layers."""
        return self._network().init(key, jnp.zeros(self.observation.shape))

    def __call__(self, params: PyTree, s: Array) -> tuple[Float[Array, " A"], Float[Array, " M"]]:
        """Applies the network."""
        return self._network().apply(params, s)


class Critic(abc.ABC):
    """A value function for the meta-gradient's advantages. Its state is its parameters and its optimiser's."""

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draws a state."""

    @abc.abstractmethod
    def value(self, state: PyTree, s: Array) -> Float[Array, ""]:
        """Returns v(s) of one observation."""

    @abc.abstractmethod
    def update(self, state: PyTree, s: Array, targets: Float[Array, " B"]) -> PyTree:
        """Moves the values of `B` observations towards targets."""


@value
class TableCritic(Critic):
    """A value a state. Each visited one moves by a share α of the mean error of its visits.

        v(s) ← v(s) + α mean_{i: s_i = s} (G_i − v(s))

    Attributes:
      num_states: S.
      rate: α.
    """

    num_states: int = static()
    rate: Float[ArrayLike, ""] = 0.2

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Zeros."""
        return jnp.zeros(self.num_states)

    def value(self, state: PyTree, s: Array) -> Float[Array, ""]:
        """Looks a state up."""
        return state[s]

    def update(self, state: PyTree, s: Array, targets: Float[Array, " B"]) -> PyTree:
        """Moves the visited states."""
        errors = jnp.stack([targets - state[s], jnp.ones_like(targets)], axis=-1)
        total, count = jnp.zeros((self.num_states, 2)).at[s].add(errors).T
        return state + self.rate * total / jnp.maximum(count, 1.0)


@value
class NetworkCritic(Critic):
    """A multi-layer perceptron that learns by Adam from squared errors.

    Attributes:
      observation: what observations are.
      units: of the hidden layers.
      rate: Adam's learning rate.
    """

    observation: envs.Box = static()
    units: tuple[int, ...] = static(default=(32,))
    rate: Float[Array, ""] | float = 1e-3

    def _network(self) -> nn.Transformed:
        def build(s: Array) -> Array:
            return nn.nets.MLP([*self.units, 1])(s.reshape(-1))[0]

        return nn.without_apply_rng(nn.transform(build))

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Draws the layers."""
        params = self._network().init(key, jnp.zeros(self.observation.shape))
        return params, optim.adam(self.rate).init(params)

    def value(self, state: PyTree, s: Array) -> Float[Array, ""]:
        """Applies the network."""
        return self._network().apply(state[0], s)

    def update(self, state: PyTree, s: Array, targets: Float[Array, " B"]) -> PyTree:
        """Takes one step of Adam."""
        params, opt = state

        def loss(params: PyTree) -> Array:
            v = jax.vmap(self._network().apply, in_axes=(None, 0))(params, s)
            return jnp.mean(rl.l2_loss(v, targets))

        updates, opt = optim.adam(self.rate).update(jax.grad(loss)(params), opt, params)
        return optim.apply_updates(params, updates), opt


def network_for(env: envs.Environment, prediction_size: int, units: tuple[int, ...]) -> Network:
    """Returns the kind of agent that suits an environment's observations."""
    spec, num_actions = env.observation_spec, envs.num_actions(env)
    if isinstance(spec, envs.Discrete):
        return Table(spec.num, num_actions, prediction_size)
    return Perceptron(spec, num_actions, prediction_size, units)


def critic_for(env: envs.Environment, units: tuple[int, ...], rates: tuple[float, float]) -> Critic:
    """Returns the kind of critic that suits an environment's observations; `rates` of a table's and a network's."""
    spec = env.observation_spec
    if isinstance(spec, envs.Discrete):
        return TableCritic(spec.num, rates[0])
    return NetworkCritic(spec, units, rates[1])
