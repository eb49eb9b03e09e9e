"""Foreign files to arrays: pictures, stacks, and what each scanner writes."""
