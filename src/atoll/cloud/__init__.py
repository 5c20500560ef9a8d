"""Where instances, volumes, networks and images come from.

``base.py`` holds the ports; ``local/`` (libvirt on this machine) and ``memory/`` (a simulated
cloud, for development, simulation and fault injection) stand behind them.
"""
