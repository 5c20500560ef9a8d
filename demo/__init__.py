"""An end-to-end demonstration: ``make demo``, or ``make demo CLOUD=openstack``.

It runs the story of one user (``harness/story.py``) on this machine or on OpenStack, and checks
that nothing is left.
"""
