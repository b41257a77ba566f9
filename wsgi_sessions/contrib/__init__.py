"""Adapters to web frameworks; each is imported by name and needs its framework."""
