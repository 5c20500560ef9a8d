"""The ``atoll`` command, for operators. ``main.py`` lists its commands."""
