"""The demonstration: several gunicorn workers, one session, and a race without lost updates.

`app` is the application, written like any other; `naive` is a session that loses updates, for
comparison, beside the `losses` of other libraries; `cards` show the other middlewares, with the
hooks of `teams`, `deals` and `keepalive`, and what breaks `workers` and the store (`outage`);
`server` runs everything under gunicorn (``wsgi-sessions demo``).
"""
