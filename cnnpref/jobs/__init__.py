"""What a job does: nets, devices, memory, and the units of a batch."""
