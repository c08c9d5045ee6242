"""What needs a package that is not installed says so, with the extra that brings it, before it writes anything."""

import importlib
import sys

import pytest

from renga import loop
from renga.envs import _import
from renga.loop import Checkpoints


def test_a_run_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    for package, name in (("orbax", "orbax-checkpoint"), ("tomli_w", "tomli-w")):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            with pytest.raises(ModuleNotFoundError, match=rf"run needs the package {name}: pip install 'renga\[all\]'"):
                loop.run(lambda config: (None, None), None, steps=1, directory=tmp_path / "run")
            assert not list(tmp_path.iterdir())


def test_a_checkpoint_and_the_pages_name_what_they_need(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "orbax", None)
    with pytest.raises(ModuleNotFoundError, match="a checkpoint needs the package orbax-checkpoint"):
        Checkpoints(tmp_path).save(1, {})
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.delitem(sys.modules, "renga.web", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"renga.web needs the package starlette: pip install 'renga\[all\]'"):
        importlib.import_module("renga.web")


def test_a_package_of_environments_is_told_from_what_it_needs_itself(monkeypatch, tmp_path):
    (tmp_path / "lacks_another.py").write_text("import another_package.of_nobody")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="lacks_another is installed, but it needs another_package: pip install"):
        _import.import_package("lacks_another")
    with pytest.raises(ImportError, match="renga.envs needs the package of_nobody: pip install of_nobody"):
        _import.import_package("of_nobody.games", "of_nobody")
