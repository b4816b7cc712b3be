"""What the machine provides: devices, threads, memory, other processes and signals."""
