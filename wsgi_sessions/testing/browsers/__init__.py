"""Test clients that a `SessionClient` is around: a module for each kind."""
