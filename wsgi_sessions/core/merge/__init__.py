"""Merging: what a request changed, and how it goes together with what others changed. Pure."""
