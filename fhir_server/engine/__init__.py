"""Messages: inbox, steps, outbox."""
