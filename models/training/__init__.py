"""How `arriero-demo` is made: the synthetic tasks, its tokenizer, its training and its evaluation."""
