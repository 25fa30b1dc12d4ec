"""What the sidecar says to others by itself: heartbeat, pings."""
