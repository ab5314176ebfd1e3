"""The parts of a real Kubernetes control plane for tests: its programs, its processes, its words.

No code of Kubernetes is here: `go.mod` names the programs, and Go's module proxy delivers them.
"""
