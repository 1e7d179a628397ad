"""What is said between Lamplighter's parts: messages, their identities and their strict parsing.

Standard library only: the Slurm hooks import this package, and every import costs them time.
"""
