"""Who is asking: WSGI filters that leave an ``Identity`` in ``environ["atoll.identity"]``.

``token.py`` is the embedded default, ``keystone.py`` is for OpenStack, ``none.py`` is for loopback
only. Each filter first drops the identity headers that a client might have sent itself.
"""
