"""Adapters to web frameworks; each is imported by its name, and needs its framework installed."""
