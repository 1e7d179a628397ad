"""A real OpenStack for tests: Keystone, Placement, Nova, Glance and an OpenID provider.

handle: start and stop the cloud; servers and login are its test operations.
layout: folders, ports and passwords.
system, packages: Debian packages; Python and npm packages in the cache.
configuration, templates, wsgi: configuration files, gunicorn settings, and a stub of Neutron.
stack, services, database: the processes, in the order of their start.
seed, state: the initial users, flavors and image; a copy of that state for each run.
compute: nova-compute with a simulated hypervisor, its orders and its power hook.
oidc: the OpenID provider, a Node program.
api, calls: plain HTTP clients; the calls found in access logs.
"""
