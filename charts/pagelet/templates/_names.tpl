{{/* Names and labels. A release called pagelet, or my-pagelet, needs no second pagelet in its objects' names. */}}
{{- define "pagelet.name" -}}
{{- $name := ternary .Release.Name (printf "%s-pagelet" .Release.Name) (contains "pagelet" .Release.Name) -}}
{{- $name | trunc 44 | trimSuffix "-" -}}
{{- end }}

{{- define "pagelet.operator" -}}
{{ include "pagelet.name" . }}-operator
{{- end }}

{{- define "pagelet.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "pagelet.operator" .) }}
{{- end }}

{{- define "pagelet.selector" -}}
app.kubernetes.io/name: pagelet-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "pagelet.labels" -}}
{{ include "pagelet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: pagelet
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{/* An image's reference. Arguments: the root, and operator, gateway or engine. */}}
{{- define "pagelet.image" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $image := index $root.Values.images $part -}}
{{- if contains "://" $root.Values.registry -}}
{{- fail (printf "registry is %q; wanted a host and perhaps a path, as in an image's name, without https://" $root.Values.registry) -}}
{{- end -}}
{{- if not $image.repository -}}
{{- fail (printf "images.%s.repository is empty; wanted a name such as pagelet-%s" $part $part) -}}
{{- end -}}
{{- if and $image.digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $image.digest)) -}}
{{- fail (printf "images.%s.digest is %q; wanted sha256: and 64 hexadecimal digits, as the registry shows it" $part $image.digest) -}}
{{- end -}}
{{- with $root.Values.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a pod, and of each of its containers. */}}
{{- define "pagelet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pagelet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
