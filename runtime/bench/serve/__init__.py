"""How fast a server answers many at once: any that speaks OpenAI's language over HTTP."""
