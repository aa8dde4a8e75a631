"""The Redis room: every job, when it is due, and who may touch it."""
