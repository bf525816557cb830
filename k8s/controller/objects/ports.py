"""Ports of the containers, each written once."""

from __future__ import annotations

PREDICTOR_HTTP_PORT = 8080  # REST and /metrics
PREDICTOR_GRPC_PORT = 8081
TRAINER_METRICS_PORT = 8080
RENDEZVOUS_PORT = 29400  # where the Pods of one training find each other
CONTROLLER_METRICS_PORT = 8080  # /metrics, /healthz and /targets, unless --metrics-port says otherwise
