"""What tests, the demo and the benchmarks run Atoll with. It imports none of them.

Waiting is ``wait.py``. Deployments say how real they are: ``memory_deployment.py`` is in memory,
``service.py`` runs ``atoll serve``, ``this_machine.py`` does so with a client in QEMU, and
``on_openstack.py`` with a server in Nova on the user's own network (``user_network.py``).

Machines: ``client_vm.py`` and ``client_server.py`` are users' machines (``machine.py``), which
mount by their kernel's NFS client; ``service_vm.py`` is the service image in plain QEMU.

``story.py`` does what a user does, through the public API with the OpenStack SDK. ``leaks.py``,
``tables.py`` and ``audit.py`` check what is left on the machine, in its firewall and in the cloud.
"""
