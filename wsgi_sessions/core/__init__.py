"""The core: one request's transaction on one session. It knows no WSGI and no store."""
