"""The program: what it watches, runs, stores and tells."""
