"""The contract: shares on volumes that service instances mount and export.

``generic.py`` has ``GenericShareDriver``, whose methods are what a share service calls;
``service_instance.py`` has ``ServiceInstanceManager``, which makes and mends the virtual machines.
Both keep no state of their own: ids are in ``storage.py``'s ``PrivateStorage``, everything else is
asked of the cloud and the guest agent. Every method may be run again after a crash at any point.
"""
