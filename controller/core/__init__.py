"""What every room speaks of: records, errors, and nothing that acts."""
