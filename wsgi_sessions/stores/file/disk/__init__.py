"""The disk under a session folder: files, locks, owners, mounts, free space, and faults."""
