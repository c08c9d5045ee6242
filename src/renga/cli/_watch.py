"""`renga watch RUN`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from renga.cli._arguments import Parser, real, whole
from renga.cli._main import UsageError
from renga.cli._runs import OF_MEMBERS, make_folder, newest_state, only_run, take_which, trained
from renga.loop import RunError, write_report, write_whole

EPISODE = "episode.gif"
CAPTIONS = {"episode": "Six moments of the episode, from its beginning to its end."}


def run(args: Sequence[str]) -> int:
    """Plays an episode with a trained agent; writes it as a GIF, and adds a strip of frames to the report."""
    which, rest = take_which(args)
    parser = Parser(
        prog="renga watch",
        description=run.__doc__,
        epilog=f"options of a population:{OF_MEMBERS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="directory of a run")
    parser.add_argument("file", metavar="FILE.gif", nargs="?", help=f"where to write it; default RUN/{EPISODE}")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the episode; default 0")
    parser.add_argument("--steps", type=whole, default=1000, help="maximum number of steps; default 1000")
    parser.add_argument("--frames-per-second", type=real, default=20.0, help="of the GIF; default 20")
    options = parser.parse_args(rest)
    for flag, is_right, expected in (
        ("--seed", 0 <= options.seed < 2**32, "a number of 32 bits"),
        ("--steps", options.steps >= 1, "at least 1"),
        ("--frames-per-second", 0.1 <= options.frames_per_second <= 100, "in [0.1, 100]"),
        ("FILE", options.file is None or options.file.endswith(".gif"), "a name that ends in .gif"),
    ):
        if not is_right:
            raise UsageError(
                f"{flag} must be {expected}, got {getattr(options, flag.strip('-').replace('-', '_').lower())}"
            )
    # Gymnasium's environments draw through pygame, which would look for a sound card and a screen.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    files = only_run((options.run,), "watch")
    system, config, step, state = newest_state(files, which)
    name = system.__name__.removeprefix("renga.systems.")
    if not hasattr(system, "load") or not hasattr(config, "env"):
        raise RunError(f"{name} has no agent to watch")

    import jax

    from renga.systems._watch import watch

    agent = trained(system, config, state)
    try:
        episode = watch(agent, jax.random.key(options.seed), options.steps)
    except NotImplementedError as error:
        some = "most environments of Renga and those of Gymnasium have some"
        raise RunError(f"watch: {config.env} has no pictures; {some}") from error
    except ValueError as error:
        raise RunError(f"watch: {config.env} cannot be drawn: {error}") from error
    own = options.file is None
    path = files.path / EPISODE if own else Path(options.file)
    make_folder("watch", path)
    write_whole(path, gif(episode.pictures, options.frames_per_second))
    if own and which.member is None:
        files.write_pictures(step, {"episode": episode.strip()}, CAPTIONS)
        write_report(files)
    ending = "" if episode.is_over else ", and goes on"
    print(f"{path}: {len(episode.rewards)} steps, return {sum(episode.rewards):.6g}{ending}")
    return 0


def gif(pictures: Sequence, frames_per_second: float) -> bytes:
    """Makes an animation that begins anew when it is over."""
    import io

    from PIL import Image

    first, *others = (Image.fromarray(picture) for picture in pictures)
    buffer = io.BytesIO()
    pause = [round(1000 / frames_per_second)] * (len(pictures) - 1) + [1500]
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=pause, loop=0)
    return buffer.getvalue()
