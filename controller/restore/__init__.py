"""One restore: decided, carried out, compared, undone."""
