"""No test is passed over in silence."""

import fnmatch
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_folder_with_tests_is_searched(pytestconfig):
    folders = {part for path in TESTS.rglob("test_*.py") for part in path.relative_to(TESTS).parts[:-1]}
    assert {"dist", "house"} <= folders
    assert not [
        (folder, pattern)
        for folder in folders
        for pattern in pytestconfig.getini("norecursedirs")
        if fnmatch.fnmatch(folder, pattern)
    ]
