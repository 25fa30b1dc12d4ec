"""What is told of targets and runs, the same in API, heartbeat and page."""
