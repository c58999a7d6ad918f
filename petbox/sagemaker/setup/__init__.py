"""`petbox setup` and `petbox doctor`: what an account needs, and whether it has it."""
