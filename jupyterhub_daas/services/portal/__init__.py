"""The pages: they act for a person with that person's own token, and own no data."""
