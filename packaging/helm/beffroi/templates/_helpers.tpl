{{- define "beffroi.labels" -}}
app.kubernetes.io/name: beffroi
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "beffroi.selector" -}}
app.kubernetes.io/name: beffroi
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "beffroi.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What every role's configuration has in common: the bus. */}}
{{- define "beffroi.bus" -}}
[bus]
kind = "kafka"
brokers = {{ .Values.kafka.brokers | toJson }}
topic_prefix = {{ .Values.kafka.topicPrefix | toJson }}
create_topics = {{ .Values.kafka.createTopics }}
replication = {{ .Values.kafka.replication }}
min_insync_replicas = {{ .Values.kafka.minInsyncReplicas }}
{{- if .Values.kafka.tls.enabled }}
[bus.tls]
{{- if .Values.kafka.tls.secret }}
ca = "/run/secrets/kafka-tls/ca.crt"
{{- if .Values.kafka.tls.clientCertificate }}
cert = "/run/secrets/kafka-tls/tls.crt"
key = "/run/secrets/kafka-tls/tls.key"
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.kafka.sasl.mechanism }}
[bus.sasl]
mechanism = {{ .Values.kafka.sasl.mechanism | toJson }}
username = {{ .Values.kafka.sasl.username | toJson }}
password_file = "/run/secrets/kafka-sasl/password"
{{- end }}
{{- end }}

{{- define "beffroi.store" -}}
[clickhouse]
embedded = false

[store]
url = {{ .Values.clickhouse.url | toJson }}
user = {{ .Values.clickhouse.user | toJson }}
database = {{ .Values.clickhouse.database | toJson }}
replicated = {{ .Values.clickhouse.replicated }}
event_days = {{ .Values.clickhouse.eventDays }}
alert_days = {{ .Values.clickhouse.alertDays }}
{{- if .Values.clickhouse.secret }}
password_file = "/run/secrets/clickhouse/password"
{{- end }}
{{- end }}

{{/* The configuration of a role. */}}
{{- define "beffroi.config" -}}
{{- $values := .root.Values -}}
roles = {{ ternary (list "gateway" "enroll") (list .role) (eq .role "gateway") | toJson }}

{{ include "beffroi.bus" .root }}

[observe]
listen = {{ ternary "0.0.0.0:9464" "127.0.0.1:9464" $values.metrics.scrape | toJson }}
{{ if eq .role "gateway" }}
[gateway]
listen = "0.0.0.0:8443"
names = {{ $values.gateway.names | toJson }}

[clickhouse]
embedded = false
{{ else if eq .role "detect" }}
[detect]
rules = {{ ternary (list "/usr/share/beffroi/sigma" "/etc/beffroi/rules") (list "/usr/share/beffroi/sigma") (ne $values.detect.rulesConfigMap "") | toJson }}

[clickhouse]
embedded = false
{{ else }}
{{ include "beffroi.store" .root }}
{{- if eq .role "api" }}

[api]
listen = "0.0.0.0:8080"
tls = { cert = "/run/secrets/api-tls/tls.crt", key = "/run/secrets/api-tls/tls.key" }
{{- if $values.api.tokenSecret }}
token_file = "/run/secrets/api-token/token"
{{- end }}
{{- end }}
{{ end }}
{{- end }}
