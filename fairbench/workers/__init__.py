"""Models in environments of their own: the process that holds one, and where its code and weights lie."""
