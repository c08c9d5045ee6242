"""Positions, analyses and nodes of search trees as JSON values."""

import math
from typing import Any

import numpy as np

from renga.search import Tree
from renga.web._rules import IllegalMoveError, Position, Rules
from renga.web._searcher import Analysis


def position_view(position: Position) -> dict[str, Any]:
    """What a page needs to draw a position."""
    return {
        "ply": len(position.moves),
        "seat": position.seat,
        "board": position.board.tolist(),
        "legal": position.legal.tolist(),
        "last": position.last,
        "over": position.over,
        "winner": position.winner,
        "line": position.line,
    }


def analysis_view(position: Position, analysis: Analysis) -> dict[str, Any]:
    """The value of a position, and of its legal moves, to the player to move."""
    edges = None if analysis.tree is None else _edges(analysis.tree, Tree.ROOT_INDEX)
    return {
        "ply": len(position.moves),
        "seat": position.seat,
        "simulations": analysis.simulations,
        "action": analysis.action,
        "value": _number(analysis.value),
        "moves": [
            {
                "action": action,
                "policy": _number(analysis.policy[action]),
                "prior": _number(analysis.prior[action]),
                "visits": 0 if edges is None else edges["visits"][action],
                "value": None if edges is None else edges["value"][action],
            }
            for action in np.flatnonzero(position.legal).tolist()
        ],
        "variation": variation(analysis),
        "nodes": 0 if analysis.tree is None else int(np.sum(analysis.tree["node_visits"] > 0)),
    }


def variation(analysis: Analysis) -> list[int]:
    """The principal variation: what the agent would do, then the most visited move of each node."""
    moves = [analysis.action]
    if analysis.tree is None:
        return moves
    node = int(analysis.tree["children_index"][Tree.ROOT_INDEX, analysis.action])
    while node != Tree.UNVISITED:
        visits = analysis.tree["children_visits"][node]
        action = int(np.argmax(visits))
        if visits[action] == 0:
            break
        moves.append(action)
        node = int(analysis.tree["children_index"][node, action])
    return moves


def node_view(rules: Rules, position: Position, analysis: Analysis, path: list[int]) -> dict[str, Any] | None:
    """A node of the search tree, found by the moves that lead to it; None if it was not searched.

    `board` is None where a learned model goes on where the rules do not.
    """
    tree = analysis.tree
    node = Tree.ROOT_INDEX
    for action in path:
        inside = tree is not None and 0 <= action < rules.num_actions
        node = int(tree["children_index"][node, action]) if tree is not None and inside else Tree.UNVISITED
        if node == Tree.UNVISITED:
            return None
    if tree is None:
        return None
    try:
        board = position_view(rules.position((*position.moves, *path)))
    except IllegalMoveError:
        board = None
    edges = _edges(tree, node)
    order = np.argsort(-tree["children_visits"][node], kind="stable").tolist()
    return {
        "path": path,
        "visits": int(tree["node_visits"][node]),
        "value": _number(tree["node_values"][node]),
        "raw_value": _number(tree["raw_values"][node]),
        "position": board,
        "children": [
            {"action": a, "visits": edges["visits"][a], "prior": edges["prior"][a], "value": edges["value"][a]}
            for a in order
            if tree["children_index"][node, a] != Tree.UNVISITED
        ],
    }


def _edges(tree: dict[str, np.ndarray], node: int) -> dict[str, list[Any]]:
    """Visits, prior and value of each move of a node; the value is that to who moves there, None if not visited."""
    logits = tree["children_prior_logits"][node].astype(float)
    weights = np.exp(logits - np.max(logits))
    values = tree["children_rewards"][node] + tree["children_discounts"][node] * tree["children_values"][node]
    visits = tree["children_visits"][node]
    return {
        "visits": [int(n) for n in visits],
        "prior": [_number(p) for p in weights / np.sum(weights)],
        "value": [_number(q) if n > 0 else None for q, n in zip(values, visits, strict=True)],
    }


def _number(x: Any) -> float | None:
    """JSON has no NaN."""
    return float(x) if math.isfinite(x) else None
