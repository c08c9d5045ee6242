"""`renga member RUN M`."""

from collections.abc import Sequence

from renga.cli._main import UsageError
from renga.cli._runs import member_of, only_run, system_named, take_which
from renga.loop import take_member


def run(args: Sequence[str]) -> int:
    """Makes a member of a population a run of its own, and says where it stands."""
    rest = [f"--member={args[1]}", *args[2:]] if len(args) > 1 and not args[1].startswith("-") else []
    which, rest = take_which(rest)
    if which.member is None or len(rest) > 1 or any(arg.startswith("-") for arg in rest):
        raise UsageError(
            "usage: renga member RUN M [DIRECTORY] [--metric NAME] [--goal max|min]\n"
            "  M is a number, or best, median or worst; the directory is RUN/members/M by default"
        )
    files = only_run(tuple(args[:1]), "member")
    member = member_of(files, which)
    assert member is not None
    print(take_member(files, system_named(files.read_config()["system"]), member, *rest))
    return 0
