"""What the worker and the receiver both stand on."""
