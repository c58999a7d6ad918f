"""Serving on this machine: `petbox serve`, `local`, `conform` and the model server."""
