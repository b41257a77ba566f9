"""The wire to Redis servers: URLs, connections, commands, and their faults."""
