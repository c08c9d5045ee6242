"""How long does each program of the gallery take? Draws their pictures, too: python benchmarks/gallery.py [NAME …]."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import record
from PIL import Image

sys.path.insert(0, str(record.ROOT / "docs" / "gallery"))
import build


def run(name: str) -> tuple[float, list[str]]:
    """Runs a program in a process of its own, keeps its picture; returns its seconds and what each cell printed."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        settings = {"MPLBACKEND": "agg", "PYTHONPATH": str(record.ROOT / "src")}
        if name == "data_parallel":
            settings["JAX_NUM_CPU_DEVICES"] = "4"  # as its first lines say
        command = [sys.executable, "-c", build.marked(name)]
        done = subprocess.run(
            command, cwd=folder, check=True, env=os.environ | settings, stdout=subprocess.PIPE, text=True
        )
        seconds = time.perf_counter() - start
        with Image.open(pathlib.Path(folder) / f"{name}.png") as picture:
            few_colours = picture.convert("RGB").quantize(64)
        few_colours.save(build.HERE / f"{name}.png", optimize=True)
    printed = [text.strip("\n") for text in done.stdout.split(build.END_OF_CELL)]
    return round(seconds, 1), printed[:-1]


if __name__ == "__main__":
    record.made()  # refuses now what could not be recorded at the end
    known = record.read("gallery")
    seconds, printed = known.get("seconds", {}), known.get("printed", {})
    for name in sys.argv[1:] or build.NAMES:
        seconds[name], printed[name] = run(name)
        print(f"{name}: {seconds[name]} s")
    record.write("gallery", "gallery.py", seconds=seconds, printed=printed)
    build.write()
