"""What many images do to the units of a net, independent of their order and grouping."""
