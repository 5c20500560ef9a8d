"""Quotas: the limits of projects, users and share types, and what is used of them."""
