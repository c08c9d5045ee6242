"""The run loop: drives any system `make(config) -> (init, step)` and knows nothing else about it."""

from renga.loop._checkpoint import Checkpoints
from renga.loop._config import Requirements, check_config
from renga.loop._devices import join_processes, over_devices, shard_batch
from renga.loop._directory import RunDirectory, environment
from renga.loop._doctor import Examination, examine
from renga.loop._errors import RunError
from renga.loop._files import write_json
from renga.loop._iterate import Update, Window, iterate
from renga.loop._report import write_report
from renga.loop._restore import config_of, restore
from renga.loop._run import Result, run

__all__ = [
    "Checkpoints",
    "Examination",
    "Requirements",
    "Result",
    "RunDirectory",
    "RunError",
    "Update",
    "Window",
    "check_config",
    "config_of",
    "environment",
    "examine",
    "iterate",
    "join_processes",
    "over_devices",
    "restore",
    "run",
    "shard_batch",
    "write_json",
    "write_report",
]
