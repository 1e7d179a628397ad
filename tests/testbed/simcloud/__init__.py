"""A simulated OpenStack: Keystone, Nova and an EGI-like login in one process, with faults on demand.

Run it with ``python -m tests.testbed.simcloud``; drive it from Python with
:class:`tests.testbed.simcloud.handle.SimCloud`.
"""
