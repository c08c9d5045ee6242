"""renga.loop."""
