"""The HTTP door: requests in, responses out."""
