{{- define "labelwright.grafana.name" -}}
{{ include "labelwright.fullname" . }}-grafana
{{- end }}

{{/* The data source. Grafana puts in the variable's value: the address may contain a password. */}}
{{- define "labelwright.grafana.datasources" -}}
apiVersion: 1
datasources:
  - name: Labelwright
    uid: labelwright-prometheus
    type: prometheus
    access: proxy
    url: $LABELWRIGHT_PROMETHEUS_URL
    isDefault: true
    editable: false
    jsonData: {httpMethod: POST, timeInterval: {{ .Values.prometheus.scrapeInterval }}}
{{- end }}

{{- define "labelwright.grafana.providers" -}}
apiVersion: 1
providers:
  - name: labelwright
    folder: Labelwright
    type: file
    allowUiUpdates: false
    disableDeletion: true
    options: {path: /etc/labelwright/dashboards}
{{- end }}
