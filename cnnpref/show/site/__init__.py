"""The gallery: a static site of a run, its layers and its units, that opens from any folder.

`layer.write_layer` makes the pages and pictures of one layer, `overview.write_overview` the page
of the run, `share.write_share` a copy without the files that these are made of.
"""
