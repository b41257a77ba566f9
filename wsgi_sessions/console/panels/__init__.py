"""The panels of the console, each a module with one function: from a `View` to HTML.

A panel whose numbers a store does not keep says so; one that fails leaves the others alone.
"""
