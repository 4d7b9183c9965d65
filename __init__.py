"""A worker, scheduler and client of the Distributive Compute Platform, built as a message-queue actor system."""
