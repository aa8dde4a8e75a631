"""New jobs: what a request may hold, what it would cost, and the one way in."""
