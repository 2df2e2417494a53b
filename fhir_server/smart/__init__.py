"""Tokens and scopes become a Grant, and a Grant becomes a search tree."""
