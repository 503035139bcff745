"""Adapter `endpoint`: a model that somebody serves over HTTP, on an own server or as a commercial service."""
