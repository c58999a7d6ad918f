"""Detection by a server, an endpoint or a model: `petbox.Detector` and `petbox detect`."""
