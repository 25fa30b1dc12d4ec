"""Copies of runs at destinations: their format, their keys, and the process that sends them.

docs/copies-format.md describes what lies there. Only `sealing` knows age, only `signing` knows Ed25519; `serve` imports
neither, since a child process does the work.
"""
