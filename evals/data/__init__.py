"""Readers of items and questions, splits, and sets made from one's own documents."""
