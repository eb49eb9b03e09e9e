"""What is measured side by side: models, their floors and their controls."""
