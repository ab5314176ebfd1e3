"""The operator's stream as a sidecar's source of configuration: dialed, read, answered, kept.

`messages` is the operator's too. Decisions are pure (`turns`, `redialing`, `reading`, `reports`,
`last_good`); `source` and `session` carry them out.
"""
