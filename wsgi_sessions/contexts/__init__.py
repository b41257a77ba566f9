"""Contexts: what a user last worked on comes back after the session was lost."""
