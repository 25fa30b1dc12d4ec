"""The process: configuration, privileges, the parts and their order."""
