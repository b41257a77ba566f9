"""Settings that do not belong to a single feature."""
