"""A learned rule, as an object: it makes agents and updates them."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from renga.loop import RunDirectory, restore
from renga.systems._files import described, write
from renga.systems.lpg._config import Config, group_for, rule_of
from renga.systems.lpg._experience import Inputs, Targets
from renga.systems.lpg._export import rule_in
from renga.systems.lpg._ladder import Agent, Life, Setup, inner_update, new_agent
from renga.systems.lpg._rules import LPG


@dataclasses.dataclass(frozen=True, repr=False)
class LearnedRule:
    """What a run has learned: an update rule for agents. See `load`.

    Attributes:
      config: what agents are, and how many environments each has.
      rule: the rule.
      eta: its meta-parameters η.
    """

    config: Config
    rule: LPG
    eta: PyTree

    def __repr__(self) -> str:
        return described("renga.systems.lpg", self.config, self.eta, "LearnedRule")

    @property
    def params(self) -> PyTree:
        """The meta-parameters η, under the name that what other systems have learned has."""
        return self.eta

    def __call__(self, inputs: Inputs) -> Targets:
        """What the rule makes of a rollout: π̂ and ŷ."""
        return self.rule(self.eta, inputs)

    def begin(
        self, world: str, key: PRNGKeyArray, *, learning_rate: float | None = None, y_cost: float | None = None
    ) -> tuple[Setup, Agent]:
        """Draws a level of a world, and an agent in it that knows nothing yet.

        Args:
          world: `grid/NAME`, `chain/NAME`, `catch`, `cartpole` or `gymnax/NAME`.
          key: decides the level and the agent.
          learning_rate: of the agent; by default the first that the rule was trained with.
          y_cost: α_y, the weight of the predictions' loss; by default the first that the rule was trained with.

        Returns:
          What the agent is, and the agent.
        """
        group = group_for(self.config, world, self.rule, 1)
        rate, cost = group.arms[0]
        rate = rate if learning_rate is None else learning_rate
        cost = cost if y_cost is None else y_cost
        key_level, key_agent = jax.random.split(key)
        number = lambda x: jnp.asarray(x, jnp.float32)
        life = Life(group.draw(key_level), number(rate), number(cost), jnp.int32(group.lifetime), jnp.int32(0))
        return group.setup, new_agent(group.setup, life, key_agent, group.num_envs)

    def update(self, setup: Setup, agent: Agent, key: PRNGKeyArray) -> tuple[Agent, dict[str, Float[Array, ""]]]:
        """Lets an agent act in its environments, and learn from that by the rule.

        Returns:
          The agent, and scalars, of which `reward` is its mean reward.
        """
        return _update(setup, self.eta, agent, key)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes config and rule to a safetensors file, which `load` and `load_rule` read."""
        write(path, "renga.systems.lpg", _of_rule(self.config, self.rule), self.eta)


def _of_rule(config: Config, rule: LPG) -> Config:
    """A config whose rule is this one."""
    return dataclasses.replace(config, **dataclasses.asdict(rule))


_update = jax.jit(inner_update)


def load(path: str | os.PathLike[str], config: Config | None = None) -> LearnedRule:
    """Reads a learned rule from the directory of a run, or from a file that `renga export` or `LearnedRule.save` wrote.

    Args:
      path: the directory or the file.
      config: what agents are; by default as in the run. A file of `save_rule` holds the rule alone, and takes that of
        `Config()`.

    Raises:
      RunError: if there is none.

    Example:
      >>> import tempfile
      >>> from renga.systems import lpg
      >>> rule = lpg.LPG(cell="gru", units=8, prediction_size=3)
      >>> file = tempfile.mkdtemp() + "/rule.safetensors"
      >>> lpg.save_rule(file, rule, jax.jit(rule.init)(jax.random.key(0)))
      >>> learned = lpg.load(file, lpg.Config(num_envs=2, rollout_length=4, prediction_size=3))
      >>> setup, agent = learned.begin("chain/short", jax.random.key(1))
      >>> agent, metrics = learned.update(setup, agent, jax.random.key(2))
      >>> int(agent.update), metrics["reward"].shape
      (1, ())
    """
    path = Path(path)
    if path.is_dir():
        from renga.systems import lpg

        saved, _, state = restore(RunDirectory(path), lpg)
        rule, eta = rule_of(saved), state.eta
    else:
        saved, rule, eta = rule_in(path, "load")
    return LearnedRule(_of_rule(config or saved or Config(), rule), rule, eta)
