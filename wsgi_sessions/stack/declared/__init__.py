"""The settings that are not those of a single feature."""
