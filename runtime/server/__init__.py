"""The HTTP face: routes, dialects and what guards them."""
