"""From files to batches: text is read in chunks, split, encoded and cut into batches."""
