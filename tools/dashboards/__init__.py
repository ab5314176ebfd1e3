"""The Grafana dashboards in Python; `tools/write_dashboards.py` writes them as JSON."""
