"""Tables that name the files of eyes, and where their B-scans lie."""
