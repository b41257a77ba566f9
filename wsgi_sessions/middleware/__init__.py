"""The middlewares: one file, one class, one concern each; every one works alone."""
