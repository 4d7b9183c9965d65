"""The actors of a worker, their mailbox and their base."""
