"""Merging: a request's changes, combined with the changes of others. Pure."""
