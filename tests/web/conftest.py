"""A small agent that knows nothing, and a server for it."""

import time

import jax
import jax.numpy as jnp
import pytest
from starlette.testclient import TestClient

from renga.systems import muzero
from renga.web import make_app

SIMULATIONS = 4


@pytest.fixture(scope="session")
def agent():
    config = muzero.Config(env="tic_tac_toe", units=8, blocks=1, simulations=SIMULATIONS)
    return muzero.Agent(config, muzero.networks(config).init(jax.random.key(0), jnp.zeros((1, 3, 3, 2))))


@pytest.fixture(scope="session")
def client(agent):
    app = make_app(agent, levels=(0, SIMULATIONS), batch=4, games=400)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        while not client.get("/api/status").json()["ready"]:
            time.sleep(0.05)
        yield client
