"""What happens to a share, snapshot, share network and share server: one module each.

Each module holds a handler whose ``converge`` reads a row and makes true what it says, whatever has
been done already, and whose ``give_up`` writes the error state and the user's message when that
can't be. ``reconcile.py`` looks for rows that have stopped being true.
"""
