"""A history checker: what clients saw of their sessions, judged against what is promised.

Each operation is recorded with its begin and end (`record`), and pure functions find what a promise
does not allow (`checkers`). In the spirit of Jepsen.
"""
