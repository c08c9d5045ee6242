"""`renga sample RUN`."""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from renga.cli._arguments import Parser, whole
from renga.cli._main import UsageError
from renga.cli._runs import OF_MEMBERS, make_folder, newest_state, only_run, take_which, trained
from renga.loop import RunError, write_whole

SAMPLES = "samples.png"


def run(args: Sequence[str]) -> int:
    """Draws samples of a trained generator; writes them as a picture, or as an array of NumPy's."""
    which, rest = take_which(args)
    parser = Parser(
        prog="renga sample",
        description=run.__doc__,
        epilog=f"options of a population:{OF_MEMBERS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="directory of a run")
    parser.add_argument("file", metavar="FILE", nargs="?", help=f"FILE.png or FILE.npy; default RUN/{SAMPLES}")
    parser.add_argument("--num", type=whole, default=100, help="of samples; default 100")
    parser.add_argument("--seed", type=whole, default=0, help="of the samples; default 0")
    options = parser.parse_args(rest)
    for flag, value, is_right, expected in (
        ("--num", options.num, 1 <= options.num <= 1_000_000, "in [1, 1000000]"),
        ("--seed", options.seed, 0 <= options.seed < 2**32, "a number of 32 bits"),
        ("FILE", options.file, options.file is None or options.file.endswith((".png", ".npy")), "FILE.png or FILE.npy"),
    ):
        if not is_right:
            raise UsageError(f"{flag} must be {expected}, got {value}")
    files = only_run((options.run,), "sample")
    system, config, _, state = newest_state(files, which)
    generator = trained(system, config, state)
    if not hasattr(generator, "sample"):
        raise RunError(f"{system.__name__.removeprefix('renga.systems.')} has no generator to sample from")

    import jax
    import numpy as np

    samples = generator.sample(jax.random.key(options.seed), options.num)
    path, buffer = Path(options.file or files.path / SAMPLES), io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, np.asarray(samples), allow_pickle=False)
    else:
        from PIL import Image

        Image.fromarray(generator.draw(samples)).save(buffer, "PNG")
    make_folder("sample", path)
    write_whole(path, buffer.getvalue())
    print(f"{path}: {options.num} samples of shape {list(samples.shape[1:])}")
    return 0
