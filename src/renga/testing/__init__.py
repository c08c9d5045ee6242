"""renga.testing."""
