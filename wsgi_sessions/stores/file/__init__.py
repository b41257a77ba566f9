"""Sessions in files."""
