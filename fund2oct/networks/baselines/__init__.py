"""Networks of the baselines, after the papers that they are cited from."""
