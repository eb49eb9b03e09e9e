"""What training changes in an eye: the light of its photo, and photo and scan together."""
