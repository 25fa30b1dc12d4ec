"""One run: admission, attempts, what is done in the target, and what is odd about the outcome."""
