"""Complete programs to copy, and the demo that runs them."""
