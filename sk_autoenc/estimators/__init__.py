"""One algorithm in each file: the mathematics above, the class below."""
