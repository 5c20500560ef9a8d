"""The numbers that Atoll promises, measured: ``python -m bench [NAME …] [--json]``."""
