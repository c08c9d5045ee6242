"""Every example in a docstring, and every `python` block and `renga` command of a `console` block of a page, runs."""

import doctest
import functools
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import jax
import pytest

import renga
from renga.cli import main

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# Pages of the gallery are made from programs, which tests/house/test_gallery.py runs; the reference of docstrings.
PAGES = [p for p in PAGES if not {"_build", "gallery", "reference"} & {*p.parts} and "```python" in p.read_text()]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _has_example(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return bool(spec and spec.origin and ">>>" in Path(spec.origin).read_text())


MODULES = sorted(m.name for m in pkgutil.walk_packages(renga.__path__, "renga.") if "__main__" not in m.name)
MODULES = [name for name in MODULES if _has_example(name)]


@functools.cache
def _imported(line: str) -> dict[str, object]:
    """What a line of imports brings. It is what a page of the reference says that its examples assume."""
    names: dict[str, object] = {}
    exec(line, names)
    return names


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    # The examples of an adapter need the package that it adapts.
    for package in re.findall(r'import_package\("(\w+)"', Path(module.__file__).read_text()):
        pytest.importorskip(package)
    reference = pytest.importorskip("reference")
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    output = []
    with jax.numpy_rank_promotion("allow"):
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, name, globs={}):
            assert not re.search(r">>>.*\brenga(\.\w+)*(\._| import _)", test.docstring), f"{test.name}: private module"
            value = getattr(module, test.name.removeprefix(f"{name}.").partition(".")[0], None)
            if home := reference.homes().get(id(value)):
                test.globs = dict(_imported(reference.imports(home.rpartition(".")[0])))
            else:  # of a private function
                test.globs = {**_imported("import jax, jax.numpy as jnp, numpy as np"), **vars(module)}
            runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)


def test_links_to_pages_are_relative_and_work_outside_of_sphinx():
    pages = [*ROOT.glob("*.md"), *(p for p in ROOT.glob("docs/**/*.md") if "_build" not in p.parts)]
    by_name = [p for p in pages if re.search(r"pip install .*[ '\"]renga\b", p.read_text())]
    assert not by_name, "on the package index the name is another project's"
    assert not [f"{p.relative_to(ROOT)}: {link}" for p in pages for link in re.findall(r"\]\(/[^)]*", p.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_fenced_python_blocks_run_and_print_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    namespace = {"__name__": page.stem}
    text = page.read_text()
    if "jax_num_cpu_devices" not in text:  # a reader has one device
        monkeypatch.setattr(jax, "devices", lambda *args, found=jax.devices: found(*args)[:1])
    for package in re.findall(r"^<!-- needs: (\w+) -->$", text, re.MULTILINE):
        pytest.importorskip(package)
    with jax.numpy_rank_promotion("allow"):
        for match in re.finditer(r"^```(?:python|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if match[0].startswith("```console"):
                for command in re.findall(r"^\$ renga (.*)$", match[1], re.MULTILINE):
                    assert main(shlex.split(command)) == 0, command
                continue
            line = text[: match.start()].count("\n") + 1
            if file := re.match(r"# (\w+\.py)\n", match.group(1)):  # a block that the reader is to save
                Path(file[1]).write_text(match.group(1))
            # Blank lines in front give a failing block the page's line numbers.
            code = compile("\n" * line + match.group(1), str(page), "exec")
            capsys.readouterr()
            exec(code, {"__name__": file[1].removesuffix(".py")} if file else namespace)  # a file imports for itself
            # What is printed is told in the next block, or behind the only `print`.
            shown = re.match(r"\n*```text\n(.*?)^```", text[match.end() :], re.DOTALL | re.MULTILINE)
            shown = shown or re.search(r"^print\(.*\)  # (.*)", match[1], re.MULTILINE)
            if shown or "print(" in match[1]:
                printed = capsys.readouterr().out.strip()
                assert shown, f"line {line} prints what the page does not show: {printed}"
                assert printed == shown[1].strip(), f"line {line}"
