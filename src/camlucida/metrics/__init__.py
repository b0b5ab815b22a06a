"""Which explanation can be trusted: measures of maps, each with its paper, direction and range."""
