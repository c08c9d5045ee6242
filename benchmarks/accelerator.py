"""Measures Renga on the accelerator at hand: one command that can be interrupted and started again.

    PYTHONPATH=src python benchmarks/accelerator.py --minutes 12 --out results

Each part runs in a process of its own with a time limit, so that a crash or a lack of memory loses one part only. The
record of a part, `OUT/NAME.json`, is written whole after every row. Started again with the same folder, the command
skips what is finished. `--tiny` measures nothing of worth: it shows, on any machine, that every part runs.
`--table` fills the table of docs/accelerators.md from benchmarks/results/accelerator.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accelerator"
PAGE = HERE.parent / "docs" / "accelerators.md"
START, END = "<!-- accelerator table: start -->", "<!-- accelerator table: end -->"

# In order of worth, with the most seconds that a part may take.
PARTS = {"correct": 150, "search": 200, "lpg": 150, "rl": 120, "optim": 120, "nn": 150, "systems": 120}
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "rlax", "mctx")


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


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file whole: a reader sees the old text or the new one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(out: pathlib.Path, name: str, record: dict) -> None:
    write(out / f"{name}.json", json.dumps(record, indent=1) + "\n")


def run_part(name: str, out: pathlib.Path, tiny: bool, commit: str) -> None:
    """Runs one part in this process, and writes its record after every row."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(out / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if name == "correct":
        jax.config.update("jax_num_cpu_devices", 2)  # a host alone can check shard_map too
    part = importlib.import_module(f"accelerator_parts.{name}")
    device = jax.devices()[0]
    record = read(out / f"{name}.json")
    rows = {row["key"]: row for row in record.get("rows", [])}
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
    command = [sys.executable, __file__, "--part", name, "--out", out, "--commit", commit]
    log = out / f"{name}.log"
    environment = dict(os.environ)
    if tiny:  # compiling is nearly all the time
        environment["XLA_FLAGS"] = environment.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command + ["--tiny"] * tiny, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            code = process.wait(timeout=seconds)
            why = None if code == 0 else f"ended with code {code}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            why = f"stopped after {seconds:.0f} s"
        except BaseException:
            process.kill()
            process.wait()
            raise
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
    for name in PARTS:
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
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help="these parts")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: does every part run?")
    parser.add_argument("--commit", help="the commit to record where git is not at hand")
    parser.add_argument("--table", action="store_true", help="only fill the table of docs/accelerators.md")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        write(PAGE, fill(PAGE.read_text(encoding="utf-8"), RESULTS))
        return
    if args.out is None:
        parser.print_help()
        return
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    commit = args.commit or git_commit()
    if args.part:
        try:
            run_part(args.part, out, args.tiny, commit)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        return
    ends = time.monotonic() + 60 * args.minutes
    for name in (name for name in PARTS if name in args.only):
        record = read(out / f"{name}.json")
        if record.get("tiny", args.tiny) != args.tiny:
            parser.error(f"{out} holds records with{'' if record['tiny'] else 'out'} --tiny: use another folder")
        left = ends - time.monotonic()
        if record.get("status") == "done" or left < 5:
            print(f"{name}: {'done before' if left >= 5 else 'no time left'}", flush=True)
            continue
        begun = time.monotonic()
        start_part(name, out, min(PARTS[name], left), args.tiny, commit)
        record = read(out / f"{name}.json")
        took = time.monotonic() - begun
        print(f"{name}: {record['status']}, {len(record['rows'])} rows, {took:.0f} s", flush=True)
    summary = table(out)
    write(out / "summary.md", summary)
    print(summary)


if __name__ == "__main__":
    main()
