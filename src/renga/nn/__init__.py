"""renga.nn."""
