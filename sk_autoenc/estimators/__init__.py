"""One algorithm a file: the mathematics above, the class below."""
