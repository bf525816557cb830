"""Documents for the API server, built from a resource. Pure functions: no client, no clock."""
