"""`renga member RUN M`."""

from collections.abc import Sequence

from renga.cli._main import UsageError
from renga.cli._runs import Which, member_of, only_run, system_named, take_options
from renga.loop import take_member


def run(args: Sequence[str]) -> int:
    """Makes a member of a population a run of its own, and says where it stands."""
    found, words = take_options(args, "metric", "goal")
    if len(words) not in (2, 3) or any(arg.startswith("-") for arg in words):
        raise UsageError(
            "usage: renga member RUN M [DIRECTORY] [--metric NAME] [--goal max|min]\n"
            "  M is a number, or best, median or worst; the directory is RUN/members/M by default"
        )
    files = only_run(words[:1], "member")
    member = member_of(files, Which(words[1], **found))
    assert member is not None
    print(take_member(files, system_named(files.read_config()["system"]), member, *words[2:]))
    return 0
