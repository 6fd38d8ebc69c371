"""What the backends of batch schedulers share: jobs, the way to them, and the life of a session that is a
job."""
