"""A real OpenStack for tests: Keystone, Placement, Nova, Glance and an OpenID provider."""
