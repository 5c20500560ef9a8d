"""What happens to a share, snapshot, share network and share server: one module each.

Each module holds a handler. Its ``converge`` reads a row and brings the resource into the state
that the row describes, whatever has been done already. Its ``give_up`` writes the error state and
the user's message if that is impossible. ``reconcile.py`` looks for resources that no longer match
their rows.
"""
