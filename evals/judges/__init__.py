"""Judges: what tells a supported response from a hallucinated one."""
