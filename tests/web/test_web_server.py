"""The server, over HTTP."""

import asyncio
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import httpx2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from starlette.testclient import TestClient

from renga import envs
from renga.systems import muzero
from renga.web import _views, make_app
from renga.web._rules import IllegalMoveError, Rules
from renga.web._searcher import Analysis


def begin(client, *moves):
    answer = client.post("/api/games", json={"moves": list(moves)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def searcher(client):
    """The searcher behind a client."""
    route = next(route for route in client.app.routes if route.path == "/api/status")
    return route.endpoint.__closure__[0].cell_contents.__self__.searcher


@pytest.fixture
def held(client, agent, monkeypatch):
    """Lets no search end before the event is set."""
    go, search = threading.Event(), agent.search
    monkeypatch.setattr(agent, "search", lambda *a, **k: (go.wait(20), search(*a, **k))[1])
    yield go
    go.set()


def wait_until(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


# ---------------------------------------------------------------- games


def test_a_game_is_played_to_its_end(client):
    game = begin(client)
    for ply, action in enumerate([0, 3, 1, 4, 2]):
        answer = client.post(f"/api/games/{game['id']}/moves", json={"action": action, "ply": ply})
    position = answer.json()["position"]
    assert position["board"] == [[1, 1, 1], [2, 2, 0], [0, 0, 0]]
    assert position["over"]
    assert (position["winner"], position["last"], position["line"]) == (0, [0, 2], [[0, 0], [0, 1], [0, 2]])
    assert not any(position["legal"])
    refused = client.post(f"/api/games/{game['id']}/agent", json={"ply": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "game_over")


def test_a_draw_has_no_winner(client):
    position = begin(client, 0, 1, 2, 4, 3, 5, 7, 6, 8)["position"]
    assert (position["over"], position["winner"], position["line"]) == (True, None, [])


def test_the_agent_plays_what_it_would_do(client, agent):
    game = begin(client, 4, 0)
    answer = client.post(f"/api/games/{game['id']}/agent", json={"ply": 2, "simulations": 4}).json()
    env = agent.env
    state = env.reset(jax.random.key(0))
    for action in (4, 0):
        state, _ = env.step(jax.random.key(0), state, action)
    assert answer["moves"] == [4, 0, agent.act(env.observe(state), env.legal_actions(state), state, simulations=4)]


def test_undo_takes_moves_back_and_any_position_can_be_shown(client):
    game = begin(client, 4, 0, 8)
    assert client.get(f"/api/games/{game['id']}?ply=1").json()["position"]["board"][1] == [0, 1, 0]
    answer = client.post(f"/api/games/{game['id']}/undo", json={"ply": 3, "to": 1}).json()
    assert answer["moves"] == [4]
    assert answer["position"]["board"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_the_list_of_games_does_not_let_others_go_on_with_them(client):
    game = begin(client, 7, 6)
    found = client.get("/api/games")
    assert found.json()["games"][0]["moves"] == [7, 6]
    assert game["id"] not in found.text


def test_positions_of_connect_four_are_those_of_the_rules():
    rules = Rules(envs.make("connect_four"))
    position = rules.position((3, 3, 4, 4, 5, 5, 6))
    assert position.board[5].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert position.board[4].tolist() == [0, 0, 0, 2, 2, 2, 0]
    assert position.line == ((5, 3), (5, 4), (5, 5), (5, 6))
    assert (position.winner, position.last) == (0, (5, 6))
    rising = rules.position((0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3))
    assert rising.line == ((2, 3), (3, 2), (4, 1), (5, 0))
    with pytest.raises(IllegalMoveError, match="moves must be at most 42, one for each place of the board, got 8000"):
        rules.position((0,) * 8000)


# ---------------------------------------------------------------- what the agent thinks


def test_the_analysis_is_that_of_the_agent(client, agent):
    game = begin(client, 4)
    found = client.get(f"/api/games/{game['id']}/analysis?ply=0&simulations=4").json()
    state = agent.env.reset(jax.random.key(0))
    thought = agent.think(agent.env.observe(state), agent.env.legal_actions(state), state, simulations=4)
    assert found["action"] == int(thought.action)
    assert found["value"] == pytest.approx(float(thought.value), abs=1e-6)
    assert [move["visits"] for move in found["moves"]] == thought.visits.tolist()
    np.testing.assert_allclose([move["prior"] for move in found["moves"]], thought.prior, atol=1e-6)
    assert found["variation"][0] == found["action"]
    assert found["nodes"] == 5


def test_the_tree_opens_node_by_node(client):
    game = begin(client, 4, 0)
    get = lambda path: client.get(f"/api/games/{game['id']}/tree?simulations=4&path={path}")
    root = get("").json()
    assert root["visits"] == 5
    assert sum(child["visits"] for child in root["children"]) == 4
    child = root["children"][0]
    node = get(child["action"]).json()
    assert node["visits"] == child["visits"]
    assert node["value"] == pytest.approx(-child["value"], abs=1e-6)  # to the other player
    assert node["position"]["seat"] == 1
    assert np.count_nonzero(node["position"]["board"]) == 3
    assert get("0").json()["error"]["code"] == "no_such_node"
    assert get("4294967296").status_code == 400


def test_without_search_there_are_a_prior_and_a_value_and_no_tree(client):
    game = begin(client)
    found = client.get(f"/api/games/{game['id']}/analysis?simulations=0").json()
    assert sum(move["prior"] for move in found["moves"]) == pytest.approx(1, abs=1e-5)
    assert all(move["value"] is None for move in found["moves"])
    refused = client.get(f"/api/games/{game['id']}/tree?simulations=0")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_tree")


def test_search_gives_the_thought_and_its_tree_for_one_position_too(client, agent):
    # The shapes of the server, which are compiled already.
    state = jax.tree.map(lambda x: jnp.stack([x] * 4), agent.env.reset(jax.random.key(0)))
    observation, legal = jax.vmap(agent.env.observe)(state), jax.vmap(agent.env.legal_actions)(state)
    thought, tree = agent.search(observation, legal, state, simulations=4, key=jax.random.key(0))
    np.testing.assert_array_equal(thought.visits, tree.summary().visit_counts)
    assert tree.embeddings is None
    one, none = agent.search(observation[0], legal[0], simulations=0)
    assert one.prior.shape == (9,)
    assert none is None


# ---------------------------------------------------------------- many at once


def test_requests_of_a_moment_are_searched_in_one_batch(client, held):
    games = [begin(client, *moves) for moves in ([5], [5, 0], [5, 1], [5, 2], [5, 3], [5, 4], [5, 6])]
    search = searcher(client)
    wait_until(lambda: not search._asked)
    before = search.batches
    ask = lambda game: client.post(
        f"/api/games/{game['id']}/agent", json={"ply": len(game["moves"]), "simulations": 4}
    ).json()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, games[0])  # holds the thread
        wait_until(lambda: len(search._asked) == 1 and not any(search._waiting.values()))
        others = [pool.submit(ask, game) for game in games[1:]] + [pool.submit(ask, games[1])]
        wait_until(lambda: sum(map(len, search._waiting.values())) == 6)
        held.set()
        answers = [future.result() for future in [first, *others[:-1]]]
    assert search.batches - before == 3  # one, four and two
    # The seventh asked for the same position as another, and for the same game: one of both moved.
    assert all(len(a["moves"]) == len(g["moves"]) + 1 for a, g in zip(answers, games, strict=True) if "moves" in a)


def test_nothing_is_compiled_after_the_page_says_ready(client, caplog):
    rules = Rules(envs.make("tic_tac_toe"))
    jax.config.update("jax_log_compiles", True)
    try:
        rules.position((0, 1))
        game = begin(client, 2)
        for ply in range(1, 5):
            level = 4 * (ply % 2)
            client.get(f"/api/games/{game['id']}/tree?simulations=4")
            assert client.post(f"/api/games/{game['id']}/agent", json={"ply": ply, "simulations": level}).is_success
    finally:
        jax.config.update("jax_log_compiles", False)
    assert "ompil" not in caplog.text


def test_a_thousand_requests_at_once_lose_no_game(client):
    names = [begin(client, i % 9)["id"] for i in range(200)]
    big = b'{"moves": [' + b"0," * 10_000 + b"0]}"
    header = {"Content-Type": "application/json"}

    async def all_at_once():
        transport = httpx2.ASGITransport(app=client.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            post = lambda name, what, body: http.post(f"/api/games/{name}/{what}", json=body)
            calls = []
            for i, name in enumerate(names):
                calls += [
                    post(name, "agent", {"ply": 1, "simulations": 4}),
                    post(name, "moves", {"action": i % 9, "ply": 1}),  # taken
                    post(f"{name}x", "moves", {"action": 0, "ply": 0}),
                    post(name, "moves", {"action": 0, "ply": 7}),
                    http.post("/api/games", content=big, headers=header),
                ]
            return await asyncio.gather(*calls)

    answers = asyncio.run(all_at_once())
    assert [answer.status_code for answer in answers[:5]] == [200, 422, 404, 409, 413]
    for kind in range(5):
        assert len({answer.status_code for answer in answers[kind::5]} - {409}) <= 1
    for i, name in enumerate(names):
        moves = client.get(f"/api/games/{name}").json()["moves"]
        assert (len(moves), moves[0]) == (2, i % 9)


# ---------------------------------------------------------------- what is refused

JSON = {"Content-Type": "application/json"}
BAD_BODIES = [
    (b"{", JSON, 400, "bad_json"),
    (b"\xff\xfe", JSON, 400, "bad_json"),
    (b"[" * 9_000, JSON, 400, "bad_json"),
    (b"", JSON, 400, "bad_json"),
    (b"[1, 2]", JSON, 400, "bad_request"),
    (b'{"action": 1}', JSON, 400, "bad_request"),
    (b'{"action": 1, "ply": 1, "more": 2}', JSON, 400, "bad_request"),
    (b'{"action": "1", "ply": 1}', JSON, 400, "bad_request"),
    (b'{"action": true, "ply": 1}', JSON, 400, "bad_request"),
    (b'{"action": 1.5, "ply": 1}', JSON, 400, "bad_request"),
    (b'{"action": NaN, "ply": 1}', JSON, 400, "bad_request"),
    (b'{"action": 1, "ply": null}', JSON, 400, "bad_request"),
    (b'{"action": 4, "ply": 1}', JSON, 422, "illegal_move"),
    (b'{"action": -1, "ply": 1}', JSON, 422, "illegal_move"),
    (b'{"action": 9, "ply": 1}', JSON, 422, "illegal_move"),
    (b'{"action": 99999999999999999999, "ply": 1}', JSON, 422, "illegal_move"),
    (b'{"action": 1, "ply": 0}', JSON, 409, "late"),
    (b'{"action": 1, "ply": 2}', JSON, 409, "late"),
    (b" " * 20_000, JSON, 413, "too_large"),
    (b'{"action": 1, "ply": 1}', {"Content-Type": "text/plain"}, 415, "not_json"),
]


@pytest.mark.parametrize(("content", "headers", "status", "code"), BAD_BODIES)
def test_a_bad_move_gets_a_clear_error_and_changes_nothing(client, content, headers, status, code):
    game = begin(client, 4)
    answer = client.post(f"/api/games/{game['id']}/moves", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(answer.json()["error"]["message"]) > 15
    assert "Traceback" not in answer.text
    assert client.get(f"/api/games/{game['id']}").json()["moves"] == [4]


BAD_REQUESTS = [
    ("GET", "/api/games/none", None, 404, "no_such_game"),
    ("POST", "/api/games/none/agent", {"ply": 0}, 404, "no_such_game"),
    ("GET", "/api/games/ID?ply=9", None, 422, "bad_ply"),
    ("GET", "/api/games/ID?ply=-1", None, 400, "bad_request"),
    ("GET", "/api/games/ID?ply=1_0", None, 400, "bad_request"),
    ("GET", "/api/games/ID/analysis?simulations=5", None, 422, "bad_simulations"),
    ("GET", "/api/games/ID/analysis?simulations=x", None, 400, "bad_request"),
    ("GET", "/api/games/ID/tree?path=a,b", None, 400, "bad_request"),
    ("GET", "/api/games/ID/tree?path=77", None, 404, "no_such_node"),
    ("POST", "/api/games/ID/agent", {"ply": 1, "simulations": 10**9}, 422, "bad_simulations"),
    ("POST", "/api/games/ID/undo", {"ply": 1, "to": 1}, 422, "bad_undo"),
    ("POST", "/api/games/ID/undo", {"ply": 1, "to": -1}, 422, "bad_undo"),
    ("POST", "/api/games", {"moves": 3}, 400, "bad_request"),
    ("POST", "/api/games", {"moves": [1, "2"]}, 400, "bad_request"),
    ("POST", "/api/games", {"moves": [1, 1]}, 422, "illegal_move"),
    ("POST", "/api/games", {"moves": [0, 3, 1, 4, 2, 5]}, 422, "illegal_move"),
    ("GET", "/api/nothing", None, 404, "no_such_page"),
    ("PUT", "/api/games", {}, 405, "no_such_method"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD_REQUESTS)
def test_a_bad_request_gets_a_clear_error(client, method, path, body, status, code):
    path = path.replace("ID", begin(client, 4)["id"])
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "Traceback" not in answer.text


def test_a_late_answer_of_the_agent_is_refused_with_the_game_as_it_stands(client, held):
    game = begin(client, 1, 2, 3)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.post, f"/api/games/{game['id']}/agent", json={"ply": 3, "simulations": 4})
        wait_until(lambda: searcher(client)._asked)
        assert client.post(f"/api/games/{game['id']}/undo", json={"ply": 3, "to": 2}).is_success
        held.set()
        answer = reply.result()
    assert answer.status_code == 409
    assert answer.json()["game"]["moves"] == [1, 2]


def test_one_that_goes_away_does_not_take_the_search_of_others_along(client, held):
    game = begin(client, 1, 2, 4)
    url = f"/api/games/{game['id']}/analysis?simulations=4"

    async def both():
        transport = httpx2.ASGITransport(app=client.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            away, stays = asyncio.create_task(http.get(url)), asyncio.create_task(http.get(url))
            while not searcher(client)._asked:
                await asyncio.sleep(0.001)
            away.cancel()
            held.set()
            return await stays

    assert asyncio.run(both()).status_code == 200


def test_a_search_that_fails_is_answered_and_the_next_one_works(client, agent, monkeypatch, caplog):
    game = begin(client, 8, 7)
    url = f"/api/games/{game['id']}/analysis?simulations=4"

    def fail(*args, **kwargs):
        raise FloatingPointError("the secret path /root")

    with monkeypatch.context() as patch:
        patch.setattr(agent, "search", fail)
        answer = client.get(url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "failed")
    assert "secret" not in answer.text
    assert "the secret path" in caplog.text
    assert client.get(url).is_success


def test_a_search_that_does_not_compile_is_said(agent, caplog):
    def fail(*args, **kwargs):
        raise MemoryError("too large")

    broken = types.SimpleNamespace(env=agent.env, config=agent.config, search=fail)
    with TestClient(make_app(broken), base_url="http://127.0.0.1") as client:
        wait_until(lambda: client.get("/api/status").json()["failure"] == "MemoryError: too large")
        assert not client.get("/api/status").json()["ready"]
        answer = client.post(f"/api/games/{begin(client)['id']}/agent", json={"ply": 0})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "no_search")
    assert "did not compile" in caplog.text


def test_other_names_of_this_machine_are_refused(client):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        answer = client.get("/api/status", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")
    for host in ("localhost", "LOCALHOST:8000", "[::1]:8000", "[::1]", "127.0.0.1:1"):
        assert client.get("/api/status", headers={"Host": host}).is_success


def test_the_game_that_was_longest_unused_is_dropped_with_a_reason(agent):
    client = TestClient(make_app(agent, games=2), base_url="http://127.0.0.1")
    first, second = begin(client, 0), begin(client, 1)
    assert client.get(f"/api/games/{first['id']}").is_success
    begin(client, 2)
    answer = client.get(f"/api/games/{second['id']}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "game_dropped")
    assert client.get(f"/api/games/{first['id']}").is_success


def test_more_than_can_wait_is_refused(agent, monkeypatch):
    monkeypatch.setattr("renga.web._searcher.MOST_WAITING", 0)
    client = TestClient(make_app(agent), base_url="http://127.0.0.1")
    answer = client.post(f"/api/games/{begin(client)['id']}/agent", json={"ply": 0})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")


def test_a_game_that_cannot_be_drawn_and_senseless_numbers_are_refused(agent):
    config = muzero.Config(env="catch", units=8, blocks=1)
    with pytest.raises(ValueError, match="must be one of connect_four, tic_tac_toe"):
        make_app(muzero.Agent(config, {}))
    for options in ({"levels": ()}, {"levels": (-1,)}, {"batch": 0}, {"games": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            make_app(agent, **options)


# ---------------------------------------------------------------- trees made by hand


def by_hand(**changes):
    """A tree with the root, move 4 below it, move 4 again below that, and move 0 below it."""
    children = np.full((4, 9), -1)
    children[0, 4], children[1, 4], children[2, 0] = 1, 2, 3
    visits = np.where(children >= 0, 4 - children, 0)
    edges = np.zeros((4, 9))
    tree = {"node_visits": np.array([4, 3, 2, 1]), "node_values": np.array([0.5, -0.5, np.nan, 0.25])}
    tree |= {"raw_values": np.zeros(4), "children_index": children, "children_visits": visits}
    tree |= {"children_prior_logits": edges, "children_rewards": edges, "children_discounts": edges - 1}
    tree |= {"children_values": np.where(children == 1, -0.5, 0.0)}
    even = np.full(9, 1 / 9)
    return Analysis(3, 4, 0.5, even, even, {**tree, **changes})


def test_the_principal_variation_follows_the_most_visited_moves():
    assert _views.variation(by_hand()) == [4, 4, 0]
    assert _views.variation(by_hand(children_index=np.full((4, 9), -1))) == [4]


def test_where_only_a_learned_model_goes_on_there_is_no_board():
    rules = Rules(envs.make("tic_tac_toe"))
    node = lambda *path: _views.node_view(rules, rules.beginning, by_hand(), list(path))
    assert node(4)["position"]["board"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert node(4, 4)["position"] is None  # the place is taken
    assert node(4, 4)["value"] is None  # JSON has no NaN
    assert [child["action"] for child in node(4, 4)["children"]] == [0]
    assert node()["children"] == [{"action": 4, "visits": 3, "prior": pytest.approx(1 / 9), "value": 0.5}]
    assert node(5) is None
