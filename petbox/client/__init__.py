"""The client: finds objects in images by asking a server, an endpoint or a model."""
