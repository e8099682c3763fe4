"""Stands in for the engine: ready when FAKE_ENGINE_READY exists, broken when FAKE_ENGINE_ERROR says how."""
