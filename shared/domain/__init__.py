"""What Rushes knows, without I/O: standard library only, time passed in as `now`."""
