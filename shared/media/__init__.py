"""Pictures and clips: what their headers say, and the inputs of a job probed before money is spent."""
