"""Tables, queries and migrations: the only place with SQL.

``tables.py`` is the schema, ``database.py`` opens SQLite (WAL) or PostgreSQL, and each resource has
a module with its queries. Queries take an open connection, so that a state change and the
operation that it requests commit together.
"""
