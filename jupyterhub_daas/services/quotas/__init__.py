"""The quota API: limits, what is held of them, reservations, and the accounting that remains of these."""
