"""What is made of a resource, as the documents that the API server is given. Pure: no client, no clock."""
