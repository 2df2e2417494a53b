"""Requests made at random, structured enough to get past the first check, and what must hold of every answer."""
