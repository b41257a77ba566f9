"""The session cookie: what comes in with a request, what goes out with its response."""
