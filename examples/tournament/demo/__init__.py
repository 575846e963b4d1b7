"""Starts the example, drives it with real WebSocket clients and compares every exported count with theirs."""
