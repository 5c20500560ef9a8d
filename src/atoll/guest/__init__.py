"""The guest agent that runs in a service instance, and the channel to it.

``base.py`` is the interface that the driver uses. ``agent/`` is the program in the instance, which
uses only the standard library. ``channel.py`` connects to it by one ssh process per instance.
"""
