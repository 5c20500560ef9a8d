"""The HTTP server in front of the application.

waitress parses requests and runs the application in threads; what stands here makes it hold
against clients that send half a request, or nothing, or never read: one thread watches all
connections with epoll, and each of them has deadlines.
"""
