"""Which containers are backed up, and one container as a place where commands run."""
