"""HTTP: cookies, headers and responses, and the middleware that gives a request its session."""
