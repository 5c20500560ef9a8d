"""The contract: shares on volumes that service instances mount and export.

``generic.py`` has ``GenericShareDriver``, whose methods are what a share service calls;
``service_instance.py`` has ``ServiceInstanceManager``, which makes and repairs the virtual
machines.
Neither keeps state: ids are in ``storage.py``'s ``PrivateStorage``, and everything else is read
from the cloud and the guest agent. Every method may be run again after a crash at any point.
"""
