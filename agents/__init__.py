"""Who does it: agents."""
