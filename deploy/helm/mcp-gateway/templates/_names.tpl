{{- define "mcp-gateway.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mcp-gateway.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "mcp-gateway.selector" -}}
app.kubernetes.io/name: mcp-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end }}

{{- define "mcp-gateway.labels" -}}
{{ include "mcp-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mcp-gateway
{{- end }}

{{- define "mcp-gateway.mode" -}}
{{- if not (has .Values.mode (list "controller" "shared")) }}{{ fail "mode is controller or shared" }}{{ end }}
{{- .Values.mode }}
{{- end }}

{{- define "mcp-gateway.session-key" -}}
{{ .Values.shared.sessionKeySecret | default (printf "%s-session-key" (include "mcp-gateway.name" .)) }}
{{- end }}
