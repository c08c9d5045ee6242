"""Environments in pure JAX, one small interface, and adapters to other packages, which are imported on demand."""

from renga import __version__ as __version__
from renga.envs._acrobot import Acrobot, AcrobotState
from renga.envs._batch import AutoReset, Batch, Running
from renga.envs._brax import Brax
from renga.envs._breakout import Breakout, BreakoutState
from renga.envs._cart_pole import CartPole, CartPoleState
from renga.envs._catch import Catch, CatchState
from renga.envs._chain import Chain, ChainState, chain_level, chain_world
from renga.envs._craftax import Craftax
from renga.envs._deep_sea import DeepSea, DeepSeaState, deep_sea_world
from renga.envs._drawing import draw_level, draw_trajectory, save_picture
from renga.envs._dynamic_programming import action_values, optimal_return, optimal_values
from renga.envs._environment import Environment, HostEnvironment, Step, Symmetries, num_actions
from renga.envs._episodes import Episodes, episode_returns, play_episodes
from renga.envs._game_2048 import Game2048, Game2048Afterstate, Game2048State
from renga.envs._grid import Grid, GridState, grid_level
from renga.envs._grid_worlds import grid_world
from renga.envs._gymnasium import Gymnasium, GymnasiumState
from renga.envs._gymnax import Gymnax
from renga.envs._jumanji import Jumanji
from renga.envs._memory_chain import MemoryChain, MemoryChainState
from renga.envs._mountain_car import MountainCar, MountainCarContinuous, MountainCarState
from renga.envs._pendulum import Pendulum, PendulumState
from renga.envs._pgx import Pgx
from renga.envs._reacher import Reacher, ReacherState
from renga.envs._registry import make, names
from renga.envs._specs import Box, Discrete
from renga.envs._swing_up import CartPoleSwingUp, CartPoleSwingUpState
from renga.envs._t_maze import TMaze, TMazeState
from renga.envs._to_gymnasium import to_gymnasium
from renga.envs._wrappers import ActionRepeat, ClipReward, FrameStack, ScaleReward, StickyActions, TimeLimit, Wrapped

__all__ = [
    "Acrobot",
    "AcrobotState",
    "ActionRepeat",
    "AutoReset",
    "Batch",
    "Box",
    "Brax",
    "Breakout",
    "BreakoutState",
    "CartPole",
    "CartPoleState",
    "CartPoleSwingUp",
    "CartPoleSwingUpState",
    "Catch",
    "CatchState",
    "Chain",
    "ChainState",
    "ClipReward",
    "Craftax",
    "DeepSea",
    "DeepSeaState",
    "Discrete",
    "Environment",
    "Episodes",
    "FrameStack",
    "Game2048",
    "Game2048Afterstate",
    "Game2048State",
    "Grid",
    "GridState",
    "Gymnasium",
    "GymnasiumState",
    "Gymnax",
    "HostEnvironment",
    "Jumanji",
    "MemoryChain",
    "MemoryChainState",
    "MountainCar",
    "MountainCarContinuous",
    "MountainCarState",
    "Pendulum",
    "PendulumState",
    "Pgx",
    "Reacher",
    "ReacherState",
    "Running",
    "ScaleReward",
    "Step",
    "StickyActions",
    "Symmetries",
    "TMaze",
    "TMazeState",
    "TimeLimit",
    "Wrapped",
    "action_values",
    "chain_level",
    "chain_world",
    "deep_sea_world",
    "draw_level",
    "draw_trajectory",
    "episode_returns",
    "grid_level",
    "grid_world",
    "make",
    "names",
    "num_actions",
    "optimal_return",
    "optimal_values",
    "play_episodes",
    "save_picture",
    "to_gymnasium",
]
