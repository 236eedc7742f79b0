"""How good it is: rates of hallucination with intervals, corrected for the judge."""
