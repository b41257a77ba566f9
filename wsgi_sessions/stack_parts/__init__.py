"""The parts of `wsgi_sessions.stack`: from the settings to one middleware, or to the store."""
