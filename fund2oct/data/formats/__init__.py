"""Foreign files to arrays: pictures, stacks, and the exams of scanners."""
