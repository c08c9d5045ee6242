"""Small helpers that the libraries share. No public names."""
