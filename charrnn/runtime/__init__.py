"""What the machine offers: devices, threads, memory, other processes, signals."""
