"""Sessions written by other libraries, imported so that their users stay logged in."""
