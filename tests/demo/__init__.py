"""`./dev demo`: the whole product at work on one machine, without a cluster's nodes."""
