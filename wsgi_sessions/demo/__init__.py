"""The demonstration: several gunicorn workers, one session, and a race that nobody loses.

`app` is the application, written as one would write one's own; `naive` is the session that loses
updates, for comparison; `cards` show the other middlewares, whose hooks are those of `teams`,
`deals` and `keepalive`; `server` runs it all under gunicorn (``wsgi-sessions demo``).
"""
