"""Concord's server: doors above, rules in the middle, PostgreSQL below (docs/architecture.md)."""
