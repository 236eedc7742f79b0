"""The ways in which Llamas write calls: one file per syntax, what is repaired, what is coerced."""
