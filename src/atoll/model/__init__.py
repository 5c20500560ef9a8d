"""The nouns of the domain: states, records, keys, and how their texts are read.

Imports nothing but ``errors``, so that every other package can use it.
"""
