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


def run(name: str) -> float:
    """Runs a program in a process of its own, keeps its picture, and returns the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        settings = {"MPLBACKEND": "agg", "PYTHONPATH": str(record.ROOT / "src")}
        if name == "data_parallel":
            settings["JAX_NUM_CPU_DEVICES"] = "4"  # as its first lines say
        program = str(build.EXAMPLES / f"{name}.py")
        subprocess.run([sys.executable, program], cwd=folder, check=True, env=os.environ | settings)
        seconds = time.perf_counter() - start
        with Image.open(pathlib.Path(folder) / f"{name}.png") as picture:
            few_colours = picture.convert("RGB").quantize(64)
        few_colours.save(build.HERE / f"{name}.png", optimize=True)
    return round(seconds, 1)


if __name__ == "__main__":
    record.made()  # refuses now what could not be recorded at the end
    seconds = record.read("gallery").get("seconds", {})
    for name in sys.argv[1:] or build.NAMES:
        seconds[name] = run(name)
        print(f"{name}: {seconds[name]} s")
    record.write("gallery", "gallery.py", seconds=seconds)
    build.write()
