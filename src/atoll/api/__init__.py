"""What a client sees: the Shared File Systems API v2, microversions, authentication, policy.

``app.py`` puts the WSGI application together and names the resource modules, which are in folders
by noun. ``frame/`` is what they share: how a module declares its routes, bodies, filters and views.
A handler writes the wanted state into rows and enqueues the resource's operation in the same
transaction; it never talks to a cloud.
"""
