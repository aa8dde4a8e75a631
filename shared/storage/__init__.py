"""The user's bucket."""
