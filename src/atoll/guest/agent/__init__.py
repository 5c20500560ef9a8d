"""The guest agent: runs in a service instance, and is sent there at each connection.

It needs only Python 3.9 or newer with its standard library, and runs as root.
``atoll.guest.payload`` packs these modules. The agent reads one request per line from stdin and
answers on stdout (``guest.base`` describes the protocol). Each verb brings the instance into the
wanted state, and may be run again after a crash at any point. State is kept in files, so a rebooted
instance serves without an agent, and several agents (of several workers) can run at once:

* ``/etc/systemd/system/atoll-share-<id>.service``, wanted by ``atoll-shares.target``: mounts;
* ``/etc/exports.d/<share id>.exports`` and Samba's registry: which clients are admitted;
* ``/var/lib/atoll/shares/<share id>.json``: the highest fence, and the last request;
* ``/run/atoll/*.lock``: a lock for each share and one for ``exportfs``.

``server`` reads requests and answers them. The verbs are in ``shares``, ``state`` (of the NFS
server) and ``report`` (what is served). ``records`` has what is stored of each share. Below are
``devices``, ``filesystems``, ``mounts``, ``soundness``, ``caches``, ``nfs``, ``listings``,
``samba``, ``freezing`` and ``rules``. ``system`` handles files, locks and programs.
"""
