"""One tiny call of every public function of `renga.envs`."""

import importlib.util

import jax
import jax.numpy as jnp

from renga import envs

from . import Case

KEY = (jax.random.key(0),)


def _steps(env, batch=()):
    """Begins, goes on for two steps with the first action, and looks."""

    def call(key):
        action = jnp.zeros((*batch, *env.action_spec.shape), env.action_spec.dtype)
        state, steps = jax.lax.scan(
            lambda state, key: env.step(key, state, action), env.reset(key), jax.random.split(key, 2)
        )
        return env.observe(state), steps

    return call


def _follow(key, board, memory):
    return jnp.argmax(jnp.max(board, axis=1), axis=1) % 3, memory


def _level(rewards):
    objects = jnp.stack([rewards, jnp.array([0.3, 0.0]), jnp.array([0.2, 0.5])], axis=1)
    return envs.grid_level(jnp.zeros((2, 2), bool), objects, cells=jnp.array([2, 3]), max_steps=3, actions=5)


REWARDS = (jnp.array([1.0, -0.5]),)

CASES = {
    "AutoReset": Case(_steps(envs.AutoReset(envs.Catch(rows=2, columns=3))), KEY),
    "Batch": Case(_steps(envs.Batch(envs.Catch(rows=3, columns=3), 2), (2,)), KEY),
    "Breakout": Case(_steps(envs.Breakout(rows=5, columns=3, brick_rows=1)), KEY),
    "CartPole": Case(_steps(envs.CartPole()), KEY),
    "Catch": Case(_steps(envs.Catch(rows=3, columns=3)), KEY),
    "Chain": Case(_steps(envs.chain_level(3)), KEY),
    "Game2048": Case(_steps(envs.Game2048()), KEY),
    "Grid": Case(lambda key, rewards: _steps(_level(rewards))(key), (*KEY, *REWARDS)),
    "MemoryChain": Case(_steps(envs.MemoryChain(2)), KEY),
    "Pendulum": Case(_steps(envs.Pendulum()), KEY),
    "Acrobot": Case(_steps(envs.Acrobot()), KEY),
    "CartPoleSwingUp": Case(_steps(envs.CartPoleSwingUp()), KEY),
    "DeepSea": Case(_steps(envs.deep_sea_world(3, jax.random.key(0))), KEY),
    "MountainCar": Case(_steps(envs.MountainCar()), KEY),
    "MountainCarContinuous": Case(_steps(envs.MountainCarContinuous()), KEY),
    "Reacher": Case(_steps(envs.Reacher()), KEY),
    "deep_sea_world": Case(lambda key: envs.deep_sea_world(3, key, stochastic=True), KEY),
    "ActionRepeat": Case(_steps(envs.ActionRepeat(envs.CartPole(), 2)), KEY),
    "ClipReward": Case(_steps(envs.ClipReward(envs.Pendulum())), KEY),
    "FrameStack": Case(_steps(envs.FrameStack(envs.Catch(rows=3, columns=3), 2)), KEY),
    "ScaleReward": Case(_steps(envs.ScaleReward(envs.Catch(rows=3, columns=3), 0.1)), KEY),
    "StickyActions": Case(_steps(envs.StickyActions(envs.Pendulum())), KEY),
    "TimeLimit": Case(_steps(envs.TimeLimit(envs.Catch(rows=3, columns=3), 1)), KEY),
    "TMaze": Case(_steps(envs.TMaze(2)), KEY),
    "action_values": Case(lambda r, v: envs.action_values(_level(r), v, 0.9), (*REWARDS, jnp.arange(16.0) / 7)),
    "chain_level": Case(lambda length, right, noise: envs.chain_level(length, right, noise), (5, 1, 0.5)),
    "chain_world": Case(lambda key: envs.chain_world("short", key), KEY),
    "play_episodes": Case(lambda key: envs.play_episodes(envs.Catch(rows=3, columns=3), _follow, key, 2), KEY),
    "episode_returns": Case(lambda key: envs.episode_returns(envs.Catch(rows=3, columns=3), _follow, key, 2), KEY),
    "grid_level": Case(_level, REWARDS),
    "grid_world": Case(lambda key: envs.grid_world("dense", key), KEY),
    # Loops whose lengths are data: without derivatives in reverse mode.
    "optimal_return": Case(
        lambda r, gamma: envs.optimal_return(_level(r), gamma), (*REWARDS, 0.9), differentiable=False
    ),
    "optimal_values": Case(
        lambda r, gamma: envs.optimal_values(_level(r), gamma), (*REWARDS, 0.9), differentiable=False
    ),
    "optimal_values/without_a_time_limit": Case(
        lambda r, gamma: envs.optimal_values(_level(r), gamma, time_limit=False), (*REWARDS, 0.9), differentiable=False
    ),
}

_RECORD = "a record of arrays"
_SPEC = "describes arrays, holds none"
_ON_HOST = "draws a picture of concrete arrays"
EXEMPT = {
    "Box": _SPEC,
    "BreakoutState": _RECORD,
    "CartPoleState": _RECORD,
    "CatchState": _RECORD,
    "ChainState": _RECORD,
    "Discrete": _SPEC,
    "Environment": "the interface; its implementations are in the table",
    "Episodes": _RECORD,
    "Game2048Afterstate": _RECORD,
    "Game2048State": _RECORD,
    "GridState": _RECORD,
    **dict.fromkeys(
        ("Brax", "Craftax", "Jumanji"), "the package is no dependency; tests/envs/test_adapters.py has the rest"
    ),
    "Gymnasium": "runs on the host; tests/envs/test_gymnasium.py has the rest",
    "GymnasiumState": _RECORD,
    "HostEnvironment": "the interface of worlds on the host",
    "MemoryChainState": _RECORD,
    "PendulumState": _RECORD,
    "Pgx": "pgx branches on whether a game is over in a way that shard_map refuses; tests/envs has the rest",
    "Running": _RECORD,
    "Step": _RECORD,
    "Symmetries": "permutations as arrays",
    "AcrobotState": _RECORD,
    "CartPoleSwingUpState": _RECORD,
    "DeepSeaState": _RECORD,
    "MountainCarState": _RECORD,
    "ReacherState": _RECORD,
    "TMazeState": _RECORD,
    "Wrapped": _RECORD,
    "draw_level": _ON_HOST,
    "draw_trajectory": _ON_HOST,
    "make": "takes a name and returns one of the environments in the table",
    "names": "returns names",
    "num_actions": "reads a spec and returns a Python number",
    "save_picture": _ON_HOST,
    "to_gymnasium": "gives an environment that runs on the host",
}

# It does not install with every JAX.
if importlib.util.find_spec("gymnax"):
    CASES["Gymnax"] = Case(_steps(envs.Gymnax("Catch-bsuite")), KEY)
else:
    EXEMPT["Gymnax"] = "gymnax is not installed"
