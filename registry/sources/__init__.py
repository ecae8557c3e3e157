"""Where the files of a model come from: a hub, a package index, this machine."""
