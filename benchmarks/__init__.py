"""Side-by-side measurements: Rushes, what people write by hand, and the limit. See README.md."""
