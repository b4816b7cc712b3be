"""Files that are written whole or not at all, and believed only when checked. No torch."""
