"""Limits: how large, how long, how many, and how long one waits."""
