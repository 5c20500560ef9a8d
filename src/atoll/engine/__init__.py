"""Operations: rows of work that are claimed under a lease, run, retried and never lost.

``queue.enqueue`` asks for a resource to be made what its row says (an operation has no verb,
decision 0002), a ``worker.Worker`` claims it and runs the ``operation.Handler`` of its type. The
SQL is in ``atoll.db.operations``. Nothing here knows what a share is.
"""
