"""Figures for Prometheus: what each process counts, and where it shows them."""
