"""The HTTP server in front of the application.

waitress parses requests and runs the application in threads. This package protects it against
clients that send half a request or nothing, or that never read: one thread watches all connections
with epoll, and each connection has deadlines.
"""
