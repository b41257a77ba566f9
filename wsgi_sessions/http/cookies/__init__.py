"""The session cookie: incoming with a request, outgoing with its response."""
