"""The deployment itself: services, pools, zones, projects; and messages to its users."""
