"""How conversations become prompts: one writer for each family of templates."""
