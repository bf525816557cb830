"""Grafana dashboards as code; `make dashboards` writes them into the chart. Nothing of it runs in the cluster."""
