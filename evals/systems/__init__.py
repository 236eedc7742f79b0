"""Systems under test: agents, RAG pipelines, endpoints, recorded answers."""
