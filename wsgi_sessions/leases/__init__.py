"""Leases: the sessions in use now."""
