"""Measures Renga on the accelerator at hand: one command that can be interrupted and started again.

    PYTHONPATH=src python benchmarks/accelerator.py --minutes 12 --out results

Each part runs in a process of its own with a time limit, so that a crash or a lack of memory loses one part only. The
record of a part, `OUT/NAME.json`, is written whole after every row. Started again with the same folder, the command
skips what is finished; while there is time left, it goes on by itself with parts that were stopped. `--tiny` measures
nothing of worth: it shows, on any machine, that every part runs. `--table` fills the table of docs/accelerators.md
from benchmarks/results/accelerator.
"""

import argparse
import contextlib
import datetime
import importlib
import importlib.metadata
import json
import math
import os
import pathlib
import subprocess
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accelerator"
PAGE = HERE.parent / "docs" / "accelerators.md"
START, END = "<!-- accelerator table: start -->", "<!-- accelerator table: end -->"

# In order of worth, with the most seconds that a part takes at first: twelve minutes in all. Nearly all of that is
# compiling; what a part leaves goes to those that were stopped.
PARTS = {"correct": 100, "search": 130, "lpg": 170, "muzero": 90, "systems": 70, "rl": 50, "optim": 40, "nn": 70}
EXTRAS = {"muzero_run": 600, "minatar_run": 600}  # only if they are asked for
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "rlax", "mctx", "pgx")


def git_commit() -> str:
    """Returns the commit of the work tree, or "unknown" where there is none."""
    try:
        done = subprocess.run(["git", "-C", HERE, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def versions() -> dict[str, str | None]:
    """Returns the version of each package that a row can depend on, None where it is missing."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


# ---------------------------------------------------------------- records


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file whole: a reader sees the old text or the new one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def read(path: pathlib.Path) -> dict:
    """Returns a record, an empty one where there is none; one that is damaged is put aside."""
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and isinstance(record.get("rows", []), list):
            return record
    except ValueError:
        pass
    os.replace(path, path.with_name(path.name + ".damaged"))
    print(f"{path} is damaged, and was put aside as {path.name}.damaged", flush=True)
    return {}


def plain(value):
    """Returns a value as strict JSON has it: numbers that are not finite as text."""
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def save(out: pathlib.Path, name: str, record: dict) -> None:
    write(out / f"{name}.json", json.dumps(plain(record), indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def only_one(out: pathlib.Path):
    """Holds a folder, so that a second start in it is refused. The system lets go of it when this process ends."""
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"accelerator.py: another start is at work in {out}") from None
        yield


# ---------------------------------------------------------------- a part


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, however that came: their pipe closes."""

    def wait() -> None:
        os.read(0, 1)  # not by way of sys.stdin, which would have to be free at the end
        os._exit(3)

    threading.Thread(target=wait, daemon=True).start()


def run_part(name: str, out: pathlib.Path, tiny: bool, commit: str, limit: float) -> None:
    """Runs one part in this process, and writes its record after every row."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(out / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if name == "correct":
        jax.config.update("jax_num_cpu_devices", 2)  # a host alone can check shard_map too
    part = importlib.import_module(f"accelerator_parts.{name}")
    if hasattr(part, "FOLDER"):
        part.FOLDER, part.LIMIT = out, limit
    device = jax.devices()[0]
    record = read(out / f"{name}.json")
    rows = {row["key"]: row for row in record.get("rows", [])}
    before = record.get("device", device.device_kind)
    if rows and before != device.device_kind:
        raise SystemExit(f"{out} holds rows of {before!r}, and this is {device.device_kind!r}: use another folder")
    if record.get("commit", commit) != commit:
        rows = {key: {**row, "commit": row.get("commit", record["commit"])} for key, row in rows.items()}
    record = {
        "part": name,
        "status": "running",
        "commit": commit,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "versions": versions(),
        "tiny": tiny,
        "rows": list(rows.values()),
    }
    save(out, name, record)
    for row in part.run(tiny, set(rows)):
        if "running" in row:
            save(out, name, record | row)
            continue
        rows[row["key"]] = row
        record["rows"] = list(rows.values())
        save(out, name, record)
        print(f"{name}: {text_of(row)}", flush=True)
    record["status"] = "done"
    save(out, name, record)


def start_part(name: str, out: pathlib.Path, seconds: float, tiny: bool, commit: str) -> None:
    """Runs one part in a process of its own, and records how it ended if it did not end well."""
    command = [sys.executable, __file__, "--part", name, "--out", out, "--commit", commit, "--limit", str(seconds)]
    log = out / f"{name}.log"
    environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92", **os.environ}  # a part has the device to itself
    if tiny:  # compiling is nearly all the time
        environment["XLA_FLAGS"] = environment.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command + ["--tiny"] * tiny,
            stdin=subprocess.PIPE,  # closes when this process ends: see `end_with_parent`
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            code = process.wait(timeout=seconds)
            why = None if code == 0 else f"ended with code {code}"
        except subprocess.TimeoutExpired:
            why = f"stopped after {seconds:.0f} s"
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
    if why is None:
        return
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    if "stopped" in why:
        status = "timeout"
    elif any("RESOURCE_EXHAUSTED" in line or "out of memory" in line.lower() for line in lines):
        status = "out of memory"
    else:
        status = "crashed"
    record = {"part": name, "commit": commit, "tiny": tiny, "rows": []} | read(out / f"{name}.json")
    if status != "timeout" and "running" in record:  # so that the next start does not crash there again
        record["rows"].append({"key": record.pop("running"), "error": f"{status}: {why}"})
    save(out, name, record | {"status": status, "why": why, "last_lines": lines})


def run_all(names: list[str], out: pathlib.Path, minutes: float, tiny: bool, commit: str) -> None:
    """Runs parts in their order, each up to its limit, and then those that were stopped with the time that is left."""
    ends, told, rounds = time.monotonic() + 60 * minutes, set(), 0
    todo = list(names)
    while todo:
        again = []
        for name in todo:
            record = read(out / f"{name}.json")
            left = ends - time.monotonic()
            if record.get("status") == "done" or left < 5:
                if name not in told:
                    print(f"{name}: {'done before' if record.get('status') == 'done' else 'no time left'}", flush=True)
                continue
            begun, had = time.monotonic(), len(record.get("rows", []))
            start_part(name, out, left if rounds else min((PARTS | EXTRAS)[name], left), tiny, commit)
            record = read(out / f"{name}.json")
            took, status, count = time.monotonic() - begun, record["status"], len(record["rows"])
            print(f"{name}: {status}, {count} rows, {took:.0f} s", flush=True)
            told.add(name)
            # Once more with more time; and behind the row that a part crashed in.
            if status != "done" and (count > had or (status == "timeout" and rounds == 0)):
                again.append(name)
        todo, rounds = again, rounds + 1


# ---------------------------------------------------------------- the table


def text_of(row: dict) -> str:
    """Returns a row in one line."""
    if "skipped" in row:
        return f"{row['key']}: skipped, {row['skipped']}"
    if "error" in row:
        return f"{row['key']}: {row['error']}"
    return f"{row['key']}: " + ", ".join(f"{k} {v}" for k, v in row.items() if k != "key")


def cell(row: dict, key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def table(folder: pathlib.Path) -> str:
    """Returns the records of a folder as one table; a part without a record has one row of empty cells."""
    lines = [
        "| Part | Measurement | Device | Renga, µs | Baseline, µs | Baseline | Ratio | 95 % interval | Notes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    shown = ("key", "us", "baseline_us", "baseline", "ratio", "ratio_95%", "rounds", "us_95%")
    for name in PARTS | EXTRAS:
        record = read(folder / f"{name}.json")
        if not record.get("rows"):
            lines.append(f"| {name} | {record.get('status', '')} | {record.get('device', '')} |  |  |  |  |  |  |")
        for row in record.get("rows", []):
            notes = ", ".join(f"{k} {v}" for k, v in row.items() if k not in shown).replace("|", "/").replace("\n", " ")
            cells = [name, row["key"], record.get("device", ""), cell(row, "us"), cell(row, "baseline_us")]
            cells += [cell(row, "baseline"), cell(row, "ratio"), cell(row, "ratio_95%"), notes]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def fill(page: str, folder: pathlib.Path) -> str:
    """Returns the page with the table between its two markers."""
    before, rest = page.split(START)
    return before + START + "\n\n" + table(folder) + "\n" + END + rest.split(END)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0, help="the most minutes that all parts take together")
    parser.add_argument("--out", type=pathlib.Path, help="the folder of the records")
    names = f"these parts, of {', '.join(PARTS)}, and {', '.join(EXTRAS)}, which run only if they are named"
    parser.add_argument("--only", nargs="+", choices=[*PARTS, *EXTRAS], default=list(PARTS), metavar="NAME", help=names)
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: does every part run?")
    parser.add_argument("--commit", help="the commit to record where git is not at hand")
    parser.add_argument("--table", action="store_true", help="only fill the table of docs/accelerators.md")
    parser.add_argument("--part", choices=[*PARTS, *EXTRAS], help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        write(PAGE, fill(PAGE.read_text(encoding="utf-8"), RESULTS))
        return
    if args.out is None:
        parser.print_help()
        return
    if not args.minutes > 0:
        parser.error(f"--minutes must be positive, got {args.minutes}")
    out = args.out.resolve()
    commit = args.commit or git_commit()
    if args.part:
        end_with_parent()
        try:
            run_part(args.part, out, args.tiny, commit, args.limit)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out / "writable", "")
        (out / "writable").unlink()
    except OSError as error:
        parser.error(f"--out must be a folder that can be written: {error}")
    with only_one(out):
        for name in args.only:
            record = read(out / f"{name}.json")
            if record.get("tiny", args.tiny) != args.tiny:
                parser.error(f"{out} holds records with{'' if record['tiny'] else 'out'} --tiny: use another folder")
        try:
            run_all([name for name in PARTS | EXTRAS if name in args.only], out, args.minutes, args.tiny, commit)
            summary = table(out)
            write(out / "summary.md", summary)
        except OSError as error:
            raise SystemExit(f"accelerator.py: a record could not be written: {error}") from None
    print(summary)


if __name__ == "__main__":
    main()
