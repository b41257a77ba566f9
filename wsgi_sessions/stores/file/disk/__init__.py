"""The disk under a session folder: files, locks, owners, mounts, room, and their faults."""
