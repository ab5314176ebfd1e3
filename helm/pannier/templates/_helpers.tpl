{{/* What several templates say in the same words. */}}

{{/* The labels of everything the chart creates. */}}
{{- define "pannier.labels" -}}
{{- $own := dict "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- $_ := set $own "app.kubernetes.io/name" "pannier" }}
{{- $_ := set $own "app.kubernetes.io/instance" .Release.Name }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- toYaml (merge $own .Values.commonLabels) }}
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

{{/* An image with its registry, and its digest where there is one, else its tag. Of a dictionary with
     the chart's root, and the image's values. */}}
{{- define "pannier.image" -}}
{{- $image := .image -}}
{{- with .root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What the `restricted` Pod Security level asks of a pod. */}}
{{- define "pannier.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* And of a container. */}}
{{- define "pannier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
