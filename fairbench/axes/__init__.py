"""Axes that nobody declared: what a text model proposes, what people freeze, and what pictures then show of it."""
