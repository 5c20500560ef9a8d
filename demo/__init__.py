"""The main job, end to end, on this machine: ``make demo``.

``story.py`` is what a user does, through the public API with the ordinary SDK; ``client.py`` is the
user's own virtual machine, which mounts with its kernel's NFS client; ``service.py`` runs
``atoll serve``; ``leaks.py`` looks for what is left at the end. The system tests use all four.
"""
