"""The Llama that ships with the project, and how it was trained."""

from pathlib import Path

DEMO = Path(__file__).resolve().parent / "arriero-demo"
"""Folder of `arriero-demo`, a small Llama in Hugging Face format."""
