"""`renga collect RUN FILE`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from renga.cli._arguments import Parser, whole
from renga.cli._main import UsageError
from renga.cli._runs import OF_MEMBERS, make_folder, newest_state, only_run, take_which, trained
from renga.loop import RunError, write_whole


def run(args: Sequence[str]) -> int:
    """Lets a trained agent act, and writes what happened as a dataset for offline learning."""
    which, rest = take_which(args)
    parser = Parser(
        prog="renga collect",
        description=run.__doc__,
        epilog=f"options of a population:{OF_MEMBERS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="directory of a run")
    parser.add_argument("file", metavar="FILE.npz", help="the dataset; --dataset of sac, td3, d4pg and mpo reads it")
    parser.add_argument("--steps", type=whole, default=10_000, help="of the environment; default 10000")
    parser.add_argument("--seed", type=whole, default=0, help="of the environment and the actions; default 0")
    parser.add_argument("--greedy", action="store_true", help="best actions; by default they are drawn as in training")
    options = parser.parse_args(rest)
    for flag, value, is_right, expected in (
        ("--steps", options.steps, 1 <= options.steps <= 100_000_000, "in [1, 100000000]"),
        ("--seed", options.seed, 0 <= options.seed < 2**32, "a number of 32 bits"),
        ("FILE", options.file, options.file.endswith(".npz"), "a name that ends in .npz"),
    ):
        if not is_right:
            raise UsageError(f"{flag} must be {expected}, got {value}")
    files = only_run((options.run,), "collect")
    system, config, _, state = newest_state(files, which)

    import jax

    from renga.systems._agent import TrainedAgent
    from renga.systems._dataset import as_file, collect

    agent = trained(system, config, state)
    if not isinstance(agent, TrainedAgent):
        raise RunError(f"{system.__name__.removeprefix('renga.systems.')} has no agent that could act")
    found = collect(agent, jax.random.key(options.seed), options.steps, options.greedy)
    make_folder("collect", options.file)
    write_whole(Path(options.file), as_file(found))
    ends = int((found["terminations"] | found["truncations"]).sum())
    reward = float(found["rewards"].mean())
    print(f"{options.file}: {options.steps} steps, {ends} episodes, mean reward {reward:.6g}")
    return 0
