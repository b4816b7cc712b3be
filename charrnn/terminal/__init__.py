"""Terminal output: messages, tables, plots and progress."""
