"""A case named after another package's environment is skipped where that package is not installed."""

import pytest


@pytest.fixture(autouse=True)
def package_of_environment(request):
    """The package before the slash of the parameter `name`: gymnax does not install with every JAX."""
    if hasattr(request.node, "callspec"):
        home, slash, _ = str(request.node.callspec.params.get("name", "")).partition("/")
        if slash and home in ("gymnax", "pgx"):
            pytest.importorskip(home)
