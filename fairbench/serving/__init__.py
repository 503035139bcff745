"""Asking a server over HTTP: addresses, keys, pace, patience, budgets; what its errors mean; chats with a model."""
