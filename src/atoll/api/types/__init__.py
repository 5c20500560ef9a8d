"""Share types: their extra specs, and which projects may use them."""
