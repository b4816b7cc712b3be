"""The network: cells, attention and output layers in torch, and the same network in NumPy."""
