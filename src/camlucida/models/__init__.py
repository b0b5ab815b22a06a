"""What differs between model libraries, as data: one recogniser and one Adapter each."""
