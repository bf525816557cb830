"""What the cluster sees: manifests and the controller, to come."""
