"""What a client sees: the Shared File Systems API v2, microversions, authentication, policy.

``app.py`` puts the WSGI application together, ``routing.py`` is how a resource module declares
its routes, and there is one module a resource. A handler writes the wanted state into rows and
enqueues the resource's operation in the same transaction; it never talks to a cloud.
"""
