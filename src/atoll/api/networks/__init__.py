"""Share networks with their subnets, share servers, and security services."""
