"""`make demo`: the whole story, live, on real Slurm and RabbitMQ and a simulated OpenStack."""
