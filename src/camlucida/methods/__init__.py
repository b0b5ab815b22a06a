"""The methods, a family a file; a file found here is loaded by the registry without being listed anywhere."""
