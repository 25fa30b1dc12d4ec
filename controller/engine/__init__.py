"""The Docker engine, as the rest of the program sees it; nobody outside this folder knows Docker."""
