"""Tool calls: questions, tools, and the calls that count as right."""
