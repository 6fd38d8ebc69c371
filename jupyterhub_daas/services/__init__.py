"""Hub-managed services: each its own process, its own data, its own documented API."""
