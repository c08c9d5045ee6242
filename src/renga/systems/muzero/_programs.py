"""Players that are programs of others, where they are installed: GNU Go and GNU Backgammon."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from renga import envs
from renga.loop import RunError, SettingError
from renga.systems.muzero._once import once


class Program:
    """A program in a process of its own, which answers what it is asked.

    Args:
      name: how people call it.
      command: what starts it.
      package: of Debian, which brings it.

    Raises:
      SettingError: if it is not installed; it says how to install it.
    """

    def __init__(self, name: str, command: Sequence[str], package: str):
        path = shutil.which(command[0], path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/games"]))
        if path is None:
            raise SettingError(f"muzero: {name} is not installed; `apt-get install {package}` brings it")
        self._name = name
        self._process = subprocess.Popen(
            [path, *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._end = weakref.finalize(self, _end, self._process)

    def say(self, line: str) -> None:
        """Sends a line."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer tells
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def lines(self) -> Iterator[str]:
        """What it says, line by line.

        Raises:
          RunError: if it has ended.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.rstrip("\n")
        raise RunError(f"muzero: {self._name} has ended with exit code {self._process.wait()}")


def _end(process: subprocess.Popen) -> None:
    process.kill()
    with contextlib.suppress(OSError):  # what was not sent
        process.communicate()


class Asked:
    """A player that is asked for one move after another: `act.some(key, states, wanted)` for some games only."""

    def __init__(self, env: envs.Environment, choose: Any):
        self._seen = jax.jit(lambda states: (jax.vmap(env.observe)(states), jax.vmap(env.legal_actions)(states)))
        self._choose = choose

    def __call__(self, key: PRNGKeyArray, states: PyTree) -> Array:
        """A move in each game."""
        return self.some(key, states, np.ones(len(jax.tree.leaves(states)[0]), bool))

    def some(self, key: PRNGKeyArray, states: PyTree, wanted: np.ndarray) -> Array:
        """A move in each game that is wanted, 0 in the others."""
        observations, legal = (np.asarray(x) for x in self._seen(states))
        seeds = np.asarray(jax.random.bits(key, (len(wanted),))) >> 2
        moves = np.zeros(len(wanted), np.int32)
        chosen = np.flatnonzero(wanted)
        moves[chosen] = self._choose([(observations[i], legal[i], int(seeds[i])) for i in chosen])
        return jnp.asarray(moves)


# ---------------------------------------------------------------- GNU Go


@once
def gnugo_player(env: envs.Environment, level: int) -> Asked:
    """GNU Go at a level from 1 to 10, on pgx's boards. It speaks the Go Text Protocol, version 2.

    The board before the last move is set up, and the last move made: so it knows of a ko. Where the rules of pgx, in
    which no board may come back, forbid its move, it makes the next best that it names, or passes.

    References:
      Farnebäck, "Specification of the Go Text Protocol", 2002.
    """
    shape = env.observation_spec.shape
    if shape not in ((9, 9, 17), (19, 19, 17)) or envs.num_actions(env) != shape[0] ** 2 + 1:
        raise SettingError("muzero: gnugo plays pgx/go_9x9 and pgx/go_19x19 only")
    if not 1 <= level <= 10:
        raise SettingError(f"muzero: gnugo has levels from 1 to 10, got {level}")
    rules = ("--chinese-rules", "--play-out-aftermath", "--never-resign")
    command = ("gnugo", "--mode", "gtp", *rules, "--boardsize", str(shape[0]), "--komi", "7.5", "--level", str(level))
    programs = [Program("GNU Go", command, "gnugo") for _ in range(os.cpu_count() or 1)]
    pool = ThreadPoolExecutor(len(programs))

    def choose(asked: list[Any]) -> list[int]:
        """Each process takes every n-th position, one after another."""
        n = len(programs)
        parts = pool.map(lambda i: [_go_move(programs[i], *one) for one in asked[i::n]], range(n))
        moves = [0] * len(asked)
        for i, part in enumerate(parts):
            moves[i::n] = part
        return moves

    return Asked(env, choose)


def _go_move(program: Program, observation: np.ndarray, legal: np.ndarray, seed: int) -> int:
    size = len(observation)
    own, other, own_before, other_before = (np.argwhere(observation[..., i] > 0.5).tolist() for i in range(4))
    mine, theirs = ("white", "black") if observation[0, 0, 16] > 0.5 else ("black", "white")
    last = [place for place in other if place not in other_before]
    commands = ["clear_board", f"set_random_seed {seed}"]
    for colour, places in ((mine, own_before), (theirs, other_before)):
        commands += [f"play {colour} {_vertex(row, column, size)}" for row, column in places]
    commands += [f"play {theirs} {_vertex(row, column, size)}" for row, column in last]
    if not last and (own or other or mine == "white"):
        commands.append(f"play {theirs} pass")
    for command in commands:
        _gtp(program, command)
    action = _place(_gtp(program, f"genmove {mine}"), size)
    if legal[action]:
        return action
    _gtp(program, "undo")
    others = (_place(vertex, size) for vertex in _gtp(program, f"top_moves_{mine}").split()[::2])
    return next((place for place in others if legal[place]), size * size)


def _gtp(program: Program, command: str) -> str:
    """The answer to a command: `= …` and an empty line."""
    program.say(command)
    answer = []
    for line in program.lines():
        if not line and answer:
            break
        answer += [line] if line else []
    if not answer[0].startswith("="):
        raise RunError(f"muzero: GNU Go says to `{command}`: {answer[0]}")
    return " ".join(answer)[1:].strip()


def _vertex(row: int, column: int, size: int) -> str:
    """What a place is called: columns have letters without I, rows are counted from below.

    Example:
      >>> _vertex(0, 8, 9), _place("J9", 9), _place("PASS", 9)
      ('J9', 8, 81)
    """
    return f"{'ABCDEFGHJKLMNOPQRST'[column]}{size - row}"


def _place(vertex: str, size: int) -> int:
    if vertex.lower() == "pass":
        return size * size
    return (size - int(vertex[1:])) * size + "ABCDEFGHJKLMNOPQRST".index(vertex[0].upper())


# ---------------------------------------------------------------- GNU Backgammon

# Runs in GNU Backgammon's own Python: reads boards, says the equity of the player who is to roll.
_SERVER = """
import json, sys
import gnubg
for command in ("set player 0 human", "set player 1 human", "set automatic game off", "set automatic roll off",
                "set jacoby off", "new session"):
    gnubg.command(command)
money = gnubg.cubeinfo()
for line in sys.stdin:
    plies, boards = json.loads(line)
    context = gnubg.evalcontext(0, plies, 1, 0, 0.0)
    found = [gnubg.evaluate(tuple(map(tuple, board)), money, context)[5] for board in boards]
    print("equities", json.dumps(found))
    sys.stdout.flush()
"""


@once
def gnubg_player(env: envs.Environment, plies: int) -> Asked:
    """GNU Backgammon on pgx's board: of all that can be played with the dice, what leaves the other the least equity.

    pgx takes a turn as several moves, one for each die. The equity is that of money games without a cube, in which a
    gammon counts twice and a backgammon three times.

    Args:
      env: backgammon.
      plies: how far it looks ahead, from 0 to 2.
    """
    if env.observation_spec.shape != (34,) or envs.num_actions(env) != 156:
        raise SettingError("muzero: gnubg plays pgx/backgammon only")
    if not 0 <= plies <= 2:
        raise SettingError(f"muzero: gnubg looks from 0 to 2 plies ahead, got {plies}")
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        file.write(_SERVER)
    program = Program("GNU Backgammon", ("gnubg", "--tty", "--quiet", "--no-rc", "--python", file.name), "gnubg")
    weakref.finalize(program, os.unlink, file.name)

    def equities(boards: list[Any]) -> list[float]:
        program.say(json.dumps([plies, boards]))
        return next(json.loads(line.partition(" ")[2]) for line in program.lines() if line.startswith("equities "))

    def choose(asked: list[Any]) -> list[int]:
        return [_backgammon_move(equities, observation, legal) for observation, legal, _ in asked]

    return Asked(env, choose)


# Points 0 to 23 from the view of the player to move, whose men go up, then its men on the bar: own men, others' men.
Side = tuple[int, ...]


def _backgammon_move(equities: Any, observation: np.ndarray, legal: np.ndarray) -> int:
    own, other, dice = sides(observation)
    ends = {first: boards for first, boards in plays(own, other, dice).items() if legal[first]}
    if not ends:  # nothing can be moved: pgx has an action for that
        return int(np.argmax(legal))
    asked = [(first, board) for first, boards in ends.items() for board in boards]
    won = [first for first, (mine, _) in asked if not sum(mine)]
    if won:
        return won[0]
    least = equities([[[*mine[23::-1], mine[24]], list(theirs)] for _, (mine, theirs) in asked])
    return asked[int(np.argmin(least))][0]


def sides(observation: np.ndarray) -> tuple[Side, Side, tuple[int, ...]]:
    """The men of the player to move, those of the other, and the dice that are left to play, of pgx's observation."""
    points = observation[:24]
    own = (*(int(x) for x in np.maximum(points, 0)), abs(int(observation[24])))
    other = (*(int(x) for x in np.maximum(-points, 0)), abs(int(observation[25])))
    return own, other, tuple(die + 1 for die in range(6) for _ in range(int(observation[28 + die])))


def plays(own: Side, other: Side, dice: tuple[int, ...]) -> dict[int, set[tuple[Side, Side]]]:
    """First moves, as numbers of pgx → all boards that a turn which begins so can end in.

    As many dice are played as can be, and of two of which only one can, the larger.

    Example:
      >>> own, other = (1,) + (0,) * 24, (0, 0, 2) + (0,) * 22  # one man, and two of the other's two points before him
      >>> list(plays(own, other, (1, 2)))  # he moves 1, then 2: not 2 first
      [12]
    """
    found: dict[int, dict[int, set[tuple[Side, Side]]]] = {}  # dice played → first move → boards

    def go(own: Side, other: Side, dice: tuple[int, ...], first: int, played: int) -> None:
        moved = False
        for die in set(dice):
            rest = list(dice)
            rest.remove(die)
            for action, mine, theirs in _moves(own, other, die):
                moved = True
                go(mine, theirs, tuple(rest), first if played else action, played + 1)
        if played and not moved:
            found.setdefault(played, {}).setdefault(first, set()).add((own, other))

    go(own, other, dice, 0, 0)
    if not found:
        return {}
    longest = found[max(found)]
    if max(found) == 1 and len(set(dice)) == 2:
        larger = {action: boards for action, boards in longest.items() if action % 6 + 1 == max(dice)}
        longest = larger or longest
    return longest


def _moves(own: Side, other: Side, die: int) -> Iterator[tuple[int, Side, Side]]:
    """Moves of one man: pgx's number, own men after it, the other's men after it."""
    bar = own[24] > 0
    home = not bar and not any(own[:18])
    for start in [-1] if bar else [i for i in range(24) if own[i]]:
        end = start + die
        if end < 24 and other[end] > 1:
            continue
        if end >= 24 and not (home and (end == 24 or not any(own[18:start]))):
            continue
        mine, theirs = list(own), list(other)
        mine[start] -= 1  # −1 is the bar
        if end < 24:
            mine[end] += 1
            if theirs[end]:
                theirs[end] = 0
                theirs[24] += 1
        yield (start + 2) * 6 + die - 1, tuple(mine), tuple(theirs)
