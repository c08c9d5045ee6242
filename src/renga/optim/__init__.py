"""renga.optim."""
