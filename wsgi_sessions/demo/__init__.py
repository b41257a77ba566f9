"""The demonstration: several gunicorn workers, one session, and a race that nobody loses.

`app` is the application, written as one would write one's own; `naive` is the session that loses
updates, for comparison; `server` runs both under gunicorn (``wsgi-sessions demo``).
"""
