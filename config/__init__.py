"""The one typed model of all settings, their defaults, and the order in which sources override them."""
