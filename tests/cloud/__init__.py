"""Clouds: the contract that each of them keeps, and the simulated cloud's own behaviour."""
