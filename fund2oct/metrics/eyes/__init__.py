"""What is measured of each eye: quality, anatomy, lesions."""
