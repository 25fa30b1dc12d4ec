"""What `make bench` measures: against `docker exec` and plain tools, and against the project's own limits.

Runs on the machine of the engine, since it reads `/proc` of the sidecar's process.
"""
