"""`renga train|eval|export|report|list`: finds the command, runs it, and turns errors into one readable message.

Exit codes: 0 done, 1 failed, 2 usage.
"""

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence

USAGE = """usage: renga COMMAND …

  renga list                          the systems there are
  renga train SYSTEM [--field value]  train one; renga train SYSTEM --help lists its fields
  renga train SYSTEM --resume RUN     go on with a run that was stopped
  renga eval RUN                      measure what a run has come to; some systems take options: renga eval RUN --help
  renga export RUN FILE               write what a run has learned to a file, if its system says how
  renga report RUN                    write RUN/report.html anew

  --traceback                         show where an error came from
"""

COMMANDS = ("eval", "export", "list", "report", "train")


class UsageError(Exception):
    """The command line does not say what can be done."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in args
    args = [a for a in args if a != "--traceback"]
    logging.basicConfig(format="renga: %(message)s", level=logging.WARNING)
    if not args or args[0] in ("-h", "--help", "help"):
        print(USAGE, end="", file=sys.stdout if args else sys.stderr)
        return 0 if args else 2
    try:
        if args[0] not in COMMANDS:
            raise UsageError(f"there is no command {args[0]!r}; there are: {', '.join(COMMANDS)}")
        return importlib.import_module(f"renga.cli._{args[0]}").run(args[1:])
    except UsageError as error:
        print(f"renga: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("renga: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        else:
            kind = "" if type(error).__name__ == "RunError" else f"{type(error).__name__}: "
            print(f"renga: {kind}{error}\n(--traceback shows where it came from)", file=sys.stderr)
        return 1
