"""Masks of the photo: where its vessels, its disc or its lesions are."""
