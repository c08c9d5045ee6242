"""Graphs that are spread over several devices."""

from renga.graph.experimental import sharded_graphnet

__all__ = ["sharded_graphnet"]
