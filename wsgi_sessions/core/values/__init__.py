"""The values of a session in one request: as they are, were, and are to be."""
