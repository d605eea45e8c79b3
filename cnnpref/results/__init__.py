"""The files of a run: unit files, layer files, whether they are right, and which are not wanted."""
