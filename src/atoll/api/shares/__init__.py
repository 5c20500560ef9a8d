"""Shares, and what belongs to one: its access rules, export locations and snapshots."""
