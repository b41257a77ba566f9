"""``wsgi-sessions console``: one page that an operator keeps open, in a process of its own."""
