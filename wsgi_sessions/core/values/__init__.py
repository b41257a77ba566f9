"""The values of a session in one request: present ones, former ones, and pending changes."""
