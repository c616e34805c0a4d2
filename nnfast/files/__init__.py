"""Networks to and from files: each format in a module, how files are written, and how those of others are read."""
