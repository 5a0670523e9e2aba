"""Data sets on disk, one file each: a `Source` that lists their images."""
