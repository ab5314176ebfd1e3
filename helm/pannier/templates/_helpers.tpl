{{/* What several templates say in the same words. */}}

{{/* The labels of everything the chart creates. */}}
{{- define "pannier.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: pannier
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* By which the operator's pods are found. */}}
{{- define "pannier.selector" -}}
app.kubernetes.io/name: pannier
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* What becomes of a pod while no operator answers: two replicas are one that always does. */}}
{{- define "pannier.failurePolicy" -}}
{{- .Values.injection.failurePolicy | default (ge (int .Values.replicas) 2 | ternary "Fail" "Ignore") }}
{{- end }}

{{/* The name of what is the cluster's: two releases serve different namespaces side by side. */}}
{{- define "pannier.clusterName" -}}
pannier-operator-{{ .Release.Namespace }}
{{- end }}

{{/* The operator as the subject of a binding. */}}
{{- define "pannier.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ .Values.serviceAccount.name }}
    namespace: {{ .Release.Namespace }}
{{- end }}
