"""Measures the performance targets of Atoll: ``python -m bench [NAME …] [--json]``."""
