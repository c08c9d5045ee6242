"""renga.systems."""
