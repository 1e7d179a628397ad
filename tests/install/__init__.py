"""Installations on a copy of this system: as root, in overlays and namespaces of their own."""
