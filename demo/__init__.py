"""An end-to-end demonstration: ``make demo``, or ``make demo CLOUD=openstack``.

``story.py`` does what a user does, through the public API with the OpenStack SDK. It runs in a
*place* (``place.py``): ``this_machine.py`` with a client in QEMU (``client.py``), or
``on_openstack.py`` with a server in Nova (``client_server.py``) on the user's own network
(``user_network.py``). Both clients are a ``Machine`` (``machine.py``), and mount by their kernel's
NFS client. ``service.py`` runs ``atoll serve``. ``leaks.py``, ``tables.py`` and ``audit.py`` check
what is left on the machine, in its firewall and in the cloud. The system tests use all of it.
"""
