"""A storm over a whole installation, and whether its promises hold.

plan: what happens when, drawn from a seed.
site: the installation, with weak points.
faults, jobs: carry the plan out.
collect, evidence: what can be seen afterwards, in public outputs alone.
checker: compares that with the promises.
run: one storm, from the start to the verdict.
"""
