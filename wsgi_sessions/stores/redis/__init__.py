"""Sessions on Redis."""
