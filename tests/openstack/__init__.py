"""Bad days and killed workers on a real OpenStack, through the API that users have."""
