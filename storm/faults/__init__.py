"""The faults of a storm. Each is a context manager, so that one that fails half-way is undone as well.

hit: what a fault is given: the site, its target, a source of chance, the record of power cuts.
processes, network, host, cloud, people: the faults, by what they hit.
carrier: carries out a plan, each fault in a thread of its own, and keeps the record of what was done.
"""
