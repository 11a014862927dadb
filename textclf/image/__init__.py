"""From a Bento to a checked image in a registry: build, inspect, check, list, publish."""
