"""Runs: a system's answers to a set of questions, kept in a folder."""
