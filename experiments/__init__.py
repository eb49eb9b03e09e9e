"""The shipped experiments, one YAML file each."""
