"""renga.search."""
