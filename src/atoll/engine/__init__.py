"""Operations: rows of work that are claimed under a lease, run, retried and never lost.

``queue.enqueue`` requests that a resource be brought into the state that its row describes (an
operation has no verb, decision 0002). A ``worker.Worker`` claims the operation and runs the
``operation.Handler`` of its type. The SQL is in ``atoll.db.operations``. This package does not know
what a share is.
"""
