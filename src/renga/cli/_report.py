"""`renga report RUN`."""

import contextlib
from collections.abc import Sequence

from renga.cli._arguments import check_port, checked_arguments
from renga.cli._main import UsageError
from renga.cli._runs import only_run
from renga.loop import RunError, write_report, write_sweep

USAGE = "usage: renga report RUN [--serve [--port N]], where RUN is the directory of a run"


def run(args: Sequence[str]) -> int:
    """Writes a run's report anew and says where it stands, or serves it while the run goes on."""
    if "-h" in args or "--help" in args:
        print(f"{USAGE}\n\nRewrites RUN/report.html. --serve shows it in a browser and updates it during the run.")
        return 0
    rest, serve, port = [], False, None
    left = list(args)
    while left:
        flag, equals, value = (arg := left.pop(0)).partition("=")
        if arg == "--serve":
            serve = True
        elif flag == "--port":
            port = value if equals else left.pop(0) if left else ""
        else:
            rest.append(arg)
    files = only_run(rest, "report")
    if not serve and (files.path / "sweep.json").exists():
        write_sweep(files.path)
        print(files.path / "report.html")
        return 0
    if not serve:
        if port is not None:
            raise UsageError("--port goes with --serve")
        write_report(files)
        print(files.path / "report.html")
        return 0
    _, given = checked_arguments("renga report", ["--port", "8000" if port is None else port], {"port": int})
    number = int(given)
    check_port(number)
    try:
        from renga import web
    except ModuleNotFoundError as error:
        raise RunError(f"report: {error.name} is missing: pip install 'renga[all]'") from error
    announce = lambda address: print(f"{address} follows {files.path} (Ctrl-C ends it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # which is how one ends it
        web.serve_report(files, port=number, announce=announce)
    return 0
