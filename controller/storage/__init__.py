"""Runs on the disk: capture, store, catalog."""
