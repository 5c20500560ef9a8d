"""Tables, queries and migrations: the only place with SQL.

``tables.py`` is the schema, ``database.py`` opens SQLite (WAL) or PostgreSQL, and one module a
resource holds its queries. Queries take an open connection, so that a state change and the
operation that it asks for commit together.
"""
