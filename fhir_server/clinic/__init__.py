"""Case and billing rules, pure."""
