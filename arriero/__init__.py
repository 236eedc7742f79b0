"""Arriero: agents that call tools, for the Llama family on vLLM."""
