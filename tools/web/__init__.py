"""The web as a tool: pages fetched through a guard that lets no request into a private network."""
