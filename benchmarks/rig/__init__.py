"""What stands around the measured systems: a gateway, a bucket, a load, and the meters."""
