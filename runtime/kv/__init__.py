"""Who owns which page, which prefixes are shared, and where the tensors lie."""
