"""From files to ids: text that is read in chunks, split, encoded and cut into batches."""
