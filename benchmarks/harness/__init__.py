"""How it is measured: processes, servers, visitors, rounds, and the machine."""
