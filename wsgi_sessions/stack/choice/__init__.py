"""Several session stores to choose from, and one choice for all processes of a server."""
