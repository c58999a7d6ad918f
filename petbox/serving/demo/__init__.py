"""`petbox demo`: a small trained detector, its origin, and the command that serves it."""
