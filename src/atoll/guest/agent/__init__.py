"""The guest agent: what runs inside a service instance, sent there at every connect.

Standard library only, Python 3.9 or newer, run as root; ``atoll.guest.payload`` packs these modules
into one program text. It reads a request a line from stdin and answers on stdout (``guest.base``
has the wire format). Each verb brings the instance to the wanted state and may be run again after a
crash anywhere. Nothing that matters is kept in memory: what is served lives in files, so a rebooted
instance serves without an agent, and several agents (several workers' channels) run side by side:

* ``/etc/systemd/system/atoll-share-<id>.service``, wanted by ``atoll-shares.target``: the mounts;
* ``/etc/exports.d/<share id>.exports`` and Samba's registry: who is let in;
* ``/var/lib/atoll/shares/<share id>.json``: the highest fence seen, and what was asked for last;
* ``/run/atoll/*.lock``: a lock for each share and one for ``exportfs``.

``server`` reads and answers, ``shares`` has the verbs, and below it one module a thing:
``devices``, ``filesystems``, ``mounts``, ``caches``, ``nfs``, ``samba``, ``freezing``, ``rules``;
``system`` is files, locks and programs.
"""
