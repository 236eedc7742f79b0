"""What is measured beside the rate: refusals, retrieval, citations, causes."""
