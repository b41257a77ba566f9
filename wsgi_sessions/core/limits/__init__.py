"""Limits of sessions: size, lifetime, number, and waiting requests."""
