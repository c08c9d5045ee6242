"""The run loop: drives any system `make(config) -> (init, step)` and knows nothing else about it."""

from renga import __version__ as __version__
from renga.loop._checkpoint import Checkpoints
from renga.loop._choice import choose, final_numbers, measures_of, take_member
from renga.loop._cluster import Launched, find_launched, join_cluster
from renga.loop._compare import write_comparison
from renga.loop._config import Requirements, check_config
from renga.loop._devices import (
    device_mean,
    gather_batch,
    join_processes,
    mean_gradient,
    over_devices,
    shard_batch,
)
from renga.loop._directory import RunDirectory, environment
from renga.loop._doctor import Examination, examine
from renga.loop._errors import RunError, SettingError
from renga.loop._files import write_json, write_whole
from renga.loop._iterate import Update, Window, iterate
from renga.loop._loggers import loggers
from renga.loop._members import Frozen, Members
from renga.loop._objective import objective_of
from renga.loop._outcome import command_of
from renga.loop._report import report_page, report_parts, write_report
from renga.loop._restore import config_of, restore, restore_members
from renga.loop._run import Result, run
from renga.loop._space import traceable_fields
from renga.loop._sweep import Swept, Trial, read_sweep, sweep, write_sweep

__all__ = [
    "Checkpoints",
    "Examination",
    "Frozen",
    "Launched",
    "Members",
    "Requirements",
    "Result",
    "RunDirectory",
    "RunError",
    "SettingError",
    "Swept",
    "Trial",
    "Update",
    "Window",
    "check_config",
    "choose",
    "command_of",
    "config_of",
    "device_mean",
    "environment",
    "examine",
    "final_numbers",
    "find_launched",
    "gather_batch",
    "iterate",
    "join_cluster",
    "join_processes",
    "loggers",
    "mean_gradient",
    "measures_of",
    "objective_of",
    "over_devices",
    "read_sweep",
    "report_page",
    "report_parts",
    "restore",
    "restore_members",
    "run",
    "shard_batch",
    "sweep",
    "take_member",
    "traceable_fields",
    "write_comparison",
    "write_json",
    "write_report",
    "write_sweep",
    "write_whole",
]
