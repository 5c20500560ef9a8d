"""The whole product on real virtual machines: ``atoll serve`` and a client that mounts."""
