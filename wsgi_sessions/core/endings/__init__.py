"""Ends of sessions: carried out, reported, and explained to those who come back."""
