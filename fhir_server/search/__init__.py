"""URL to tree to SELECT, and resource to index entries; nothing here executes."""
