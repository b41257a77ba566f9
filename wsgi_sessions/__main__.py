"""``python -m wsgi_sessions``: the same as ``wsgi-sessions``."""

from wsgi_sessions.cli import main

if __name__ == "__main__":
    main(prog_name="wsgi-sessions")
