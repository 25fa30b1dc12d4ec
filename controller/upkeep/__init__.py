"""What happens by itself as time goes by: schedule, retention, freshness, verification."""
