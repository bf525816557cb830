{{/* prometheus.yml of the chart's own Prometheus: one job a component, whose Pods are found through the API server. */}}
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
{{- $selectors := list }}
{{- range $label, $value := include "labelwright.prometheus.targetLabels" (dict "target" . "root" $) | fromJson }}
{{- $selectors = append $selectors (printf "%s=%s" $label $value) }}
{{- end }}
  - job_name: labelwright-{{ .component }}
    metrics_path: {{ .path }}
    {{- /* Series of the controller and the gateway name the namespace of a classifier. Classifiers' Pods may not. */}}
    honor_labels: {{ not .watched }}
    kubernetes_sd_configs:
      - role: pod
        {{- if not .watched }}
        namespaces: {names: [{{ $.Release.Namespace }}]}
        {{- else if not $.Values.controller.watch.allNamespaces }}
        namespaces: {names: {{ include "labelwright.controller.namespaces" $ }}}
        {{- end }}
        selectors: [{role: pod, label: {{ join "," $selectors | quote }}}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: {{ .port }}}
      - {source_labels: [__meta_kubernetes_pod_phase], action: keep, regex: Running}
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
      {{- if not .watched }}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_instance], target_label: release}
      {{- end }}
{{- end }}
{{- end }}
