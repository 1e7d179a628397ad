"""Runs the processes of an installation.

up: `lamplighter up`, all workers of a small installation.
worker: `lamplighter worker` and `lamplighter relay`, one worker in the foreground.
supervisor: restarts child processes that end.
metrics: the metrics of `up` and of the relay.
"""
