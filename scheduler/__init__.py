"""The scheduler of a distributed computer: its services, named as the wire names them, and its store."""
