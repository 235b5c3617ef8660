"""Products in, clean four-option questions out."""
