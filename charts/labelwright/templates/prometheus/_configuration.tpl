{{/*
prometheus.yml of the chart's own Prometheus: one job a component. The controller tells it which Pods it has made; the release's
own Pods are behind Services. So it needs no access to the API server.
*/}}
{{- define "labelwright.prometheus.configuration" -}}
global:
  scrape_interval: {{ .Values.prometheus.scrapeInterval }}
  evaluation_interval: {{ .Values.prometheus.scrapeInterval }}
rule_files: [alerts.yml]
{{- with .Values.prometheus.alertmanagers }}
alerting:
  alertmanagers:
    - static_configs: [{targets: {{ toJson . }}}]
{{- end }}
scrape_configs:
{{- range (include "labelwright.prometheus.targets" . | fromJson).list }}
  - job_name: labelwright-{{ .component }}
    metrics_path: {{ .path }}
    {{- /* Series of the controller and the gateway name the namespace of a classifier. Classifiers' Pods may not. */}}
    honor_labels: {{ not .watched }}
    {{- if .watched }}
    http_sd_configs:
      - url: http://{{ include "labelwright.controller.name" $ }}.{{ $.Release.Namespace }}:{{ $.Values.controller.metricsPort }}/targets/{{ .component }}
        refresh_interval: {{ $.Values.prometheus.scrapeInterval }}
    {{- else if .replicas }}
    dns_sd_configs:
      - names: [{{ .host }}.{{ $.Release.Namespace }}.svc]
        type: A
        port: {{ .servicePort }}
        refresh_interval: {{ $.Values.prometheus.scrapeInterval }}
    {{- else }}
    static_configs:
      - targets: ["{{ .host }}:{{ .servicePort }}"]
    {{- end }}
    {{- if not .watched }}
    relabel_configs:
      - {target_label: namespace, replacement: {{ $.Release.Namespace }}}
      - {target_label: release, replacement: {{ $.Release.Name }}}
    {{- end }}
{{- end }}
{{- end }}
