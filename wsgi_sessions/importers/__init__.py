"""Sessions that other libraries wrote, read so that their users stay logged in."""
