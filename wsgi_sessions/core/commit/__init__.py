"""The commit: how a request's changes become the stored session."""
