"""The guest agent that runs in a service instance, and the channel to it.

``base.py`` is the port that the driver uses, ``agent.py`` the program inside the instance (one
stdlib-only file), ``channel.py`` the way there: OpenSSH, one long-lived process an instance.
"""
