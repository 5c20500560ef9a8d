"""The main job, end to end: ``make demo``, or ``make demo CLOUD=openstack``.

``story.py`` is what a user does, through the public API with the ordinary SDK. Where that happens
is a *place* (``place.py``): ``this_machine.py``, with a client in QEMU (``client.py``), or
``on_openstack.py``, with a server in Nova (``client_server.py``) on a network of the user's
(``user_network.py``). Both clients are a ``machine.py``, and mount with their kernels' NFS client.
``service.py`` runs ``atoll serve``; ``leaks.py``, ``tables.py`` and ``audit.py`` look for what is
left on the machine, in its firewall and in the cloud. The system tests use all of it.
"""
