"""`make demo`: one job on powered-down nodes, with Slurm, RabbitMQ and a simulated OpenStack.

- __main__: the steps
- state: reads nodes, job and events
- screen: shows them on the terminal
"""
