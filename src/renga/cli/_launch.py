"""`renga launch --processes N -- train SYSTEM …`: several processes of this machine train together."""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from renga.cli._arguments import Parser, whole
from renga.cli._main import UsageError, say, value_of

PATIENCE = 30.0  # seconds that the others have to end by themselves when one has ended
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
_USAGE = "usage: renga launch --processes N [--restarts R] -- train SYSTEM …"


def run(args: Sequence[str]) -> int:
    """Starts the processes, and again from the newest checkpoint if they fail; returns the exit code of the last."""
    options, command = _parse(args)
    for attempt in range(options.restarts + 1):
        before = _checkpoints(command)
        codes = _run_once(options.processes, command if attempt == 0 or not before else _resuming(command))
        after = _checkpoints(command)
        code = next((c for c in codes if c), 0)
        was_killed, went_on = any(c < 0 for c in codes), set(after) - set(before)
        # A mistake would only be made again; so would a failure that came before anything was saved.
        if code == 0 or not (was_killed or (code == 1 and went_on)) or attempt == options.restarts:
            return 128 - code if code < 0 else code
        newest = f"the checkpoint of step {max(after)}" if after else "the beginning"
        say(
            f"renga: a process ended with code {code}; starting again from {newest} "
            f"({attempt + 1} of {options.restarts})",
        )
    raise AssertionError


def _parse(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits what is ours from the command of each process."""
    parser = Parser(prog="renga launch", usage=_USAGE.removeprefix("usage: "), description=__doc__)
    parser.add_argument("--processes", type=whole, required=True, help="how many; with several GPUs, each gets one")
    parser.add_argument(
        "--restarts", type=whole, default=0, help="maximum number of restarts from the newest checkpoint"
    )
    own, command = (list(args[: args.index("--")]), list(args[args.index("--") + 1 :])) if "--" in args else (args, [])
    options = parser.parse_args(own)
    if not command or command[0] != "train":
        raise UsageError(_USAGE)
    for name, value, least in (("processes", options.processes, 1), ("restarts", options.restarts, 0)):
        if value < least:
            raise UsageError(f"renga launch: --{name} must be at least {least}, got {value}")
    for flag in ("--coordinator", "--num-processes", "--process-id", "--cluster"):
        if value_of(flag, command) is not None:
            raise UsageError(f"renga launch: {flag} is what it sets itself")
    if _directory(command) is None and len(command) > 1:
        command += ["--directory", f"runs/{command[1]}-{time.strftime('%Y%m%d-%H%M%S')}"]
    gpus = num_gpus()
    if 1 < gpus < options.processes:
        raise UsageError(
            f"renga launch: --processes must be at most {gpus}, the GPUs there are, got {options.processes}"
        )
    return options, command


def num_gpus() -> int:
    """How many GPUs of NVIDIA this machine shows to a process; 0 if there is nobody to ask."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")])
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu") or not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, encoding="utf-8", check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0


def _run_once(num_processes: int, command: list[str]) -> list[int]:
    """Runs the processes to their end and returns their codes, those that failed first first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    shared = ["--coordinator", coordinator, "--num-processes", str(num_processes)] if num_processes > 1 else []
    each_its_own = num_gpus() > 1
    children: list[subprocess.Popen] = []
    with _passing_on(children):
        for i in range(num_processes):
            place = [*shared, "--process-id", str(i)] if shared else ["--cluster", "none"]
            environment = os.environ | ({"JAX_LOCAL_DEVICE_IDS": str(i)} if each_its_own else {})
            # A group of its own: Ctrl-C of a terminal comes to us alone, who pass it on once.
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "renga.cli", *command, *place], env=environment, start_new_session=True
                )
            )
        return _wait(children)


def _wait(children: list[subprocess.Popen]) -> list[int]:
    """Waits for all; those that outlive one that failed by more than `PATIENCE` are ended."""
    codes: dict[int, int] = {}
    failed_at: float | None = None
    while len(codes) < len(children):
        time.sleep(0.05)
        for i, child in enumerate(children):
            code = child.poll() if i not in codes else None
            if code is not None:
                codes[i] = code
                failed_at = failed_at or (time.monotonic() if code else None)
        if failed_at is not None and time.monotonic() - failed_at > PATIENCE:
            for i, child in enumerate(children):
                if i not in codes:
                    child.kill()
    return list(codes.values())


@contextlib.contextmanager
def _passing_on(children: list[subprocess.Popen]) -> Iterator[None]:
    """Passes signals on to the processes, and leaves none behind."""

    def pass_on(number: int, frame: object) -> None:
        for child in children:
            with contextlib.suppress(OSError):
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _directory(command: list[str]) -> str | None:
    return value_of("--directory", command) or value_of("--resume", command)


def _checkpoints(command: list[str]) -> list[int]:
    """The steps that the run has checkpoints of."""
    from renga.loop import Checkpoints

    return Checkpoints(Path(str(_directory(command))) / "checkpoints").steps()


def _resuming(command: list[str]) -> list[str]:
    """The command that goes on with the run that a command has begun."""
    kept, i = [], 0
    while i < len(command):
        flag, equals, _ = command[i].partition("=")
        if flag in ("--directory", "--resume", "--preset"):
            i += 1 if equals else 2
        else:
            kept.append(command[i])
            i += 1
    return [*kept, "--resume", str(_directory(command))]
