"""Version stamps: a session that is older than the data it was made from is rebuilt."""
