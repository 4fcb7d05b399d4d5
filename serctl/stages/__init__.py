"""The verbs: one module, one function and one result each."""
