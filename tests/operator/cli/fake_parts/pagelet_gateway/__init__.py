"""Stands in for the gateway: ready when the hosts file has an engine."""
