"""Contexts: the last thing that a user worked on comes back after the session was lost."""
