"""Who asks: Slurm's hooks, and the relay that sends what they could not.

The hooks import the standard library, pika, a hostlist library and `schemas`, nothing else.
"""
