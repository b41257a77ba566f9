"""Stores: where session records live. Each adapter imports `base` and never another adapter."""
