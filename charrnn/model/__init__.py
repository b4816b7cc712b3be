"""The network: cells, attention, output layers, and the same network in NumPy."""
