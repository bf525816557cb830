"""The API group labelwright.dev: its types, and the CRDs that are made of them."""
