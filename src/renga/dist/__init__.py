"""renga.dist."""
