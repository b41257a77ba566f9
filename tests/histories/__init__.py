"""A history checker: what clients saw of their sessions, judged against what is promised.

Clients ask a real application under real gunicorn while faults go on (`workload`, `application`,
`places`, `faults`). Each operation is recorded with its begin and end (`record`), and pure
functions find what a promise does not allow (`checkers`). In the spirit of Jepsen. For an hour::

    PYTHONPATH=tests .venv/bin/python -m histories --minutes 60
"""
