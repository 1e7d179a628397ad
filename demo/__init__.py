"""`make demo`: one job on powered-down nodes, with Slurm, RabbitMQ and a simulated OpenStack.

- __main__: the steps
- state: reads nodes, job and events
- playground: `make playground`, the same cluster kept running
- screen: shows them on the terminal
"""
