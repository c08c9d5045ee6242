"""What the tests of LPG share: tiny worlds, tiny rules."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from renga import envs, optim
from renga.systems import lpg
from renga.systems.lpg._agents import Table, TableCritic

# Compiling is nearly all the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# In NumPy: importing this starts no backend.
WALLS = np.array([[0, 1, 0], [0, 0, 0]], bool)
OBJECTS = np.array([[1.0, 0.3, 0.5], [-0.5, 0.0, 0.2]], np.float32)


def level(key):
    cells = jax.random.permutation(key, jnp.array([0, 2, 3, 5]))[:2]
    return envs.grid_level(WALLS, OBJECTS, cells, max_steps=6, actions=5)


RULES = {
    "lstm": lpg.LPG("lstm", 6, 3),
    "gru": lpg.LPG("gru", 6, 3, sees_discount=False),
    "ta": lpg.LPG("gru", 6, 3, sees_lifetime=True),
}


def setup(rule=RULES["gru"], optimiser=optim.sgd, **changes):
    env = level(jax.random.key(0))
    network = Table(env.observation_spec.num, 5, rule.prediction_size)
    critic = TableCritic(env.observation_spec.num, 0.3)
    fields = {"rollout_length": 4, "num_updates": 2, "discount": 0.9} | changes
    return lpg.Setup(rule, network, critic, optimiser, **fields)


def agent(setup, key, num_envs=4, learning_rate=2.0, trained=True):
    """An agent with some history: its table is not zero."""
    life = lpg.Life(level(key), jnp.asarray(learning_rate), jnp.asarray(0.5), jnp.int32(50), jnp.int32(0))
    one = lpg.new_agent(setup, life, key, num_envs)
    if trained:
        noise = lambda x: x + 0.5 * jax.random.normal(key, x.shape, x.dtype)
        one = one._replace(params=jax.tree.map(noise, one.params), critic=0.3 * noise(one.critic))
    return one


def agents(setup, num, **options):
    return jax.vmap(lambda key: agent(setup, key, **options))(jax.random.split(jax.random.key(3), num))


CONFIG = lpg.Config(
    worlds=("grid/small_sparse", "chain/short"), actions=5, num_agents=4, num_envs=3, rollout_length=4, num_updates=2,
    lifetime=6, cell="gru", units=8, prediction_size=4, meta_learning_rate=1e-2, micro_batch=2,
)  # fmt: skip

# An agent for each of eight devices.
SPLIT = dataclasses.replace(
    CONFIG, worlds=("chain/short",), num_agents=8, num_envs=2, micro_batch=0, meta_learning_rate=1e-3
)


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(jax.device_get(tree))])
