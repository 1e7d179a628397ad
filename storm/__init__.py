"""A storm over a whole installation, and whether its promises hold.

plan: what happens when, drawn from a seed.
layout, site, own_network: the installation, with weak points.
faults, jobs: carry the plan out.
collect, evidence: what can be seen afterwards, in public outputs alone.
checker, rules, dead_letters: compare that with the promises.
calm: after the storm, until all is at rest and a job with each strategy has ended.
memory: the workers' processes, and their memory over time.
run, report: one storm, from the start to the verdict, and the words about it.
"""
