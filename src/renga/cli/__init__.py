"""renga.cli."""
