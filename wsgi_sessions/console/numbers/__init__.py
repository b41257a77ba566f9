"""The numbers that the console shows: collected once, for the page, a terminal and programs.

A module for each part. All of a part's calls of the store are made here, and texts are those of the
store: each medium escapes them.
"""
