"""Leases: which sessions are in use now."""
