"""What an agent can do: `@tool`, the registry, search, code, retrieval."""
